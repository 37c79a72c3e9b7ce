// Shows the partner API; without the validator of another site, and without keeping tokens.
(function () {
  const place = document.getElementById('api-docs')
  window.SwaggerUIBundle({
    domNode: place,
    url: place.dataset.schema,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: 'BaseLayout',
    validatorUrl: null,
    deepLinking: true,
    persistAuthorization: false,
    docExpansion: 'list'
  })
})()
