// An answer that is being written comes in by itself, statement by statement. Where no stream can be had, the page asks now
// and then; without script there is a link.
const REST_MS = 1500;
const streams = new Map();

const announce = () => {
  const place = document.getElementById("answer-said");
  if (place) place.textContent = "The answer is there.";
};

const put = (place, html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  const next = template.content.firstElementChild;
  if (!next) return place;
  // What is the same stays: somebody may be pressing its button just now.
  if (next.className === place.className && next.textContent === place.textContent) return place;
  next.dataset.followed = "yes";
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceWith(next);
  htmx.process(next);
  if (focused) (document.getElementById(focused) ?? document.getElementById("id_text"))?.focus();
  return next;
};

const follow = (first) => {
  if (first.dataset.followed) return;
  first.dataset.followed = "yes";
  let place = first;
  const poll = () => setTimeout(() => place.isConnected && htmx.trigger(place, "poll"), REST_MS);
  if (!window.EventSource) {
    poll();
    return;
  }
  streams.get(first.id)?.close();
  const source = new EventSource(first.dataset.stream);
  streams.set(first.id, source);
  source.addEventListener("shown", (event) => {
    if (place.isConnected) place = put(place, event.data);
    else source.close();
  });
  for (const end of ["done", "gone"]) {
    source.addEventListener(end, () => {
      source.close();
      if (end === "done") announce();
    });
  }
  source.addEventListener("error", () => {
    // The browser comes back by itself after a break. It doesn't after “no more streams”.
    if (source.readyState === EventSource.CLOSED) poll();
  });
};

const look = (root) => {
  for (const place of root.querySelectorAll("[data-stream]")) follow(place);
  if (root.matches?.("[data-stream]")) follow(root);
};

document.addEventListener("htmx:load", (event) => look(event.detail.elt));
look(document);
