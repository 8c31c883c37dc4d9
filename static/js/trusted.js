// What text may become markup or script on our pages (Trusted Types). Loaded before any other script, so that its policy is
// the one that every `innerHTML`, DOMParser, script address and `eval` goes through: of htmx, of ours, of whoever got in.
//
// Markup is looked at in a document that runs nothing. With anything in it that could run, it is refused as a whole.
(() => {
  if (!window.trustedTypes) return;
  const { origin } = window.location;
  const inert = document.implementation.createHTMLDocument("");
  // Marks what is only looked at; the policy's own parsing must not ask the policy.
  const inspect = trustedTypes.createPolicy("inspect", { createHTML: (text) => text });

  const REFUSED = "base, iframe, frame, object, embed, meta[http-equiv], link[rel~=import], animate, set, foreignObject";
  const ADDRESSES = ["href", "xlink:href", "src", "action", "formaction", "data", "poster", "ping"];
  const DATA = ["application/json", "application/ld+json"];

  const ours = (address) => {
    try {
      return new URL(address, window.location.href).origin === origin;
    } catch {
      return false;
    }
  };

  const leads = (address) => {
    try {
      return ["http:", "https:", "mailto:", "data:"].includes(new URL(address, window.location.href).protocol);
    } catch {
      // Not an address: it leads nowhere.
      return true;
    }
  };

  const runs = (element) => {
    if (element.matches(REFUSED)) return true;
    for (const { name, value } of element.attributes) {
      if (/^on|^srcdoc$/i.test(name)) return true;
      if (ADDRESSES.includes(name.toLowerCase()) && !leads(value)) return true;
    }
    if (element.localName === "script") {
      const isOurs = element.hasAttribute("src") && ours(element.getAttribute("src")) && !element.textContent.trim();
      return !isOurs && !DATA.includes(element.type);
    }
    // A page with scripts reads what stands in here as text up to the first end tag, which may stand in an attribute.
    if (element.localName === "noscript") {
      return [...element.querySelectorAll("*")].some((inner) => [...inner.attributes].some(({ value }) => value.includes("<")));
    }
    return false;
  };

  const isClean = (root) =>
    [...root.querySelectorAll("*")].every(
      (element) => !runs(element) && (element.localName !== "template" || isClean(element.content)),
    );

  trustedTypes.createPolicy("default", {
    createHTML: (text) => {
      const markup = inspect.createHTML(text);
      // As a part of a page, and as a page: each keeps tags that the other drops.
      const part = inert.createElement("template");
      part.innerHTML = markup;
      const page = new DOMParser().parseFromString(markup, "text/html");
      return isClean(part.content) && isClean(page) ? text : null;
    },
    createScriptURL: (address) => (ours(address) ? address : null),
    createScript: () => null,
  });
})();
