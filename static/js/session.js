// Warns before the session ends for want of use, keeps it while somebody writes, and clears the screen after it.
(function () {
  const body = document.body
  const idle = Number(body.dataset.sessionSeconds) * 1000
  if (!idle) return
  const warnBefore = 2 * 60 * 1000
  const quietFor = 4 * 60 * 1000
  let heard = Date.now()
  let written = false
  let notice = null

  async function stay () {
    const answer = await fetch(body.dataset.sessionKeep, { redirect: 'manual', cache: 'no-store' })
    if (answer.ok) rested()
  }

  function rested () {
    heard = Date.now()
    if (notice) notice.remove()
    notice = null
  }

  function tell (text, label, act) {
    if (notice) notice.remove()
    notice = document.createElement('div')
    notice.className = 'notice notice-warn session-notice'
    notice.setAttribute('role', 'alert')
    const words = document.createElement('p')
    words.textContent = text
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'button button-primary'
    button.textContent = label
    button.addEventListener('click', act)
    notice.append(words, button)
    body.append(notice)
  }

  function signIn () {
    window.location.assign(body.dataset.sessionSignIn + '?next=' + encodeURIComponent(window.location.pathname))
  }

  function look () {
    const left = heard + idle - Date.now()
    if (left > warnBefore) return
    if (left > 0) {
      if (!notice) tell('You will be signed out in two minutes, because nothing has happened here for a while.', 'Stay signed in', stay)
    } else if (written) {
      clearInterval(clock)
      tell('You have been signed out. Copy what you wrote before you go on.', 'Sign in again', signIn)
    } else {
      clearInterval(clock)
      signIn()
    }
  }

  document.addEventListener('input', function () {
    written = true
    if (Date.now() - heard > quietFor) stay()
  })
  document.addEventListener('htmx:afterOnLoad', rested)
  const clock = setInterval(look, 5000)
})()
