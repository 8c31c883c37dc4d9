// Small conveniences. Every page works without them.
document.documentElement.classList.add("has-script");

// A form marked so is sent once: the second click of a double click does nothing. (The server knows as well.)
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-submit-once]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
});

// Coming back with the browser's Back button shows the form as it was left: it may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});

// A text box grows with its text.
const grow = (box) => {
  box.style.blockSize = "auto";
  box.style.blockSize = `${box.scrollHeight + 2}px`;
};
document.addEventListener("input", (event) => {
  if (event.target.matches("textarea[data-grow]")) grow(event.target);
});

// What somebody typed before the scripts were there (a slow connection) counts as typed: it is previewed and kept, too.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll("textarea, input:not([type=search])")) {
    if (box.value !== box.defaultValue) box.dispatchEvent(new Event("input", { bubbles: true }));
  }
});

// A row of places that scrolls sideways on a phone starts where one is.
for (const row of document.querySelectorAll(".sidebar, .tabs")) {
  const here = row.querySelector("[aria-current]");
  if (here && row.scrollWidth > row.clientWidth) {
    row.scrollLeft += here.getBoundingClientRect().left - row.getBoundingClientRect().left - row.clientWidth / 3;
  }
}

// A menu closes when somebody looks elsewhere, or presses Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// Arrow keys go through what a search box suggests; Escape goes back to the box, and a second time empties it.
document.addEventListener("keydown", (event) => {
  const box = event.target.closest?.("[data-suggests]");
  if (!box || !["ArrowDown", "ArrowUp", "Escape"].includes(event.key)) return;
  const input = box.querySelector("input");
  const links = [...box.querySelectorAll(".suggestions a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "Escape") {
    if (!links.length) return;
    box.querySelector(".suggestions").replaceChildren();
    input.focus();
  } else if (links.length) {
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (links[next] ?? input).focus();
  }
  event.preventDefault();
});

// After a refused form, start where the problem is said.
(document.querySelector(".error-summary[tabindex]") ?? document.getElementById("duplicate-warning"))?.focus();

// A click that was refused (somebody deleted or locked it meanwhile) shows the page that says so, as it would without script.
// A fragment that can't be had (signed out in another tab) leaves what is there: nobody loses what they are typing.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = event;
  const act = detail.requestConfig.elt.matches("form.act");
  const signedOut = detail.pathInfo?.responsePath?.startsWith("/sign-in/");
  if (act && (detail.xhr.status >= 400 || signedOut)) {
    detail.shouldSwap = true;
    detail.isError = false;
    detail.target = document.getElementById("page");
    detail.selectOverride = "#page";
    detail.swapOverride = "outerHTML";
  } else if (signedOut) {
    detail.shouldSwap = false;
  }
});

// The bell asks for its count now and then, while somebody looks.
const ring = () => {
  if (document.visibilityState === "visible") document.getElementById("bell")?.dispatchEvent(new Event("ring"));
};
setInterval(ring, 30000);
document.addEventListener("visibilitychange", ring);

// No connection: let the browser try, and say so in its own words.
document.addEventListener("htmx:sendError", (event) => {
  const form = event.detail.elt;
  if (form.matches?.("form.act")) form.submit();
});
