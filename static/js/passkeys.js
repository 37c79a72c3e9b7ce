// Says in words what went wrong with a passkey; allauth's own scripts only write to the console.
(function () {
  document.addEventListener('allauth.error', function (event) {
    event.preventDefault()
    const name = event.detail.exception && event.detail.exception.name
    const told = name === 'NotAllowedError'
      ? 'The passkey was not used: you cancelled, or it took too long. You can try again.'
      : name === 'InvalidStateError'
        ? 'This device has a passkey for your account already.'
        : 'This browser could not use a passkey here. Choose another way to sign in.'
    let notice = document.getElementById('passkey-error')
    if (!notice) {
      notice = document.createElement('p')
      notice.id = 'passkey-error'
      notice.className = 'notice notice-bad'
      notice.setAttribute('role', 'alert')
      const heading = document.querySelector('main h1')
      heading.insertAdjacentElement('afterend', notice)
    }
    notice.textContent = told
  })
})()
