// Buttons for passkeys, which need script: shown where the browser knows them. allauth's own script does the rest.
(() => {
  if (!window.PublicKeyCredential || !window.allauth?.webauthn) return;
  const { forms } = window.allauth.webauthn;
  const ways = {
    add: (at) => forms.addForm({ ids: { add: at.id, passwordless: "id_passwordless", credential: "id_credential", data: "js_data" } }),
    prove: (at) => forms.authenticateForm({ ids: { authenticate: at.id, credential: "id_credential", data: "js_data" } }),
    enter: (at) => forms.loginForm({ ids: { login: at.id, credential: "id_credential" } }),
  };
  for (const button of document.querySelectorAll("[data-passkey]")) {
    ways[button.dataset.passkey](button);
    button.hidden = false;
    button.closest("[data-passkey-part]")?.removeAttribute("hidden");
  }
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const place = document.getElementById("passkey-problem");
    if (place) place.textContent = "That didn’t work. Try again, or use another way.";
  });
})();
