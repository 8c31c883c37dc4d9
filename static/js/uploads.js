// Files go to where they are stored as soon as they are chosen, each with its progress and a way to stop it.
// Without script they go with the form.
const token = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

const post = async (url, fields = {}, signal = null) => {
  const response = await fetch(url, {
    method: "POST",
    signal,
    headers: { "X-CSRFToken": token(), "HX-Request": "true" },
    body: new URLSearchParams(fields),
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Error(said.problem ?? "This file couldn’t be sent. Check your connection and try again.");
};

const line = (file) => {
  const item = document.createElement("li");
  item.className = "upload pending";
  const name = document.createElement("span");
  name.className = "upload-name";
  name.textContent = file.name;
  const bar = document.createElement("progress");
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sending ${file.name}`);
  const stop = document.createElement("button");
  stop.type = "button";
  stop.className = "button small quiet";
  stop.textContent = "Cancel";
  item.append(name, bar, stop);
  // It can be stopped from the moment it is shown, also while it still waits for its ticket.
  const stopping = new AbortController();
  stop.addEventListener("click", () => {
    stop.disabled = true;
    stopping.abort();
  });
  return { item, bar, signal: stopping.signal };
};

const fail = (item, name, problem) => {
  item.className = "upload rejected";
  const text = document.createElement("span");
  text.className = "upload-state";
  text.textContent = problem;
  const label = document.createElement("span");
  label.className = "upload-name";
  label.textContent = name;
  item.replaceChildren(label, text);
};

const send = (ticket, file, { bar, signal }) =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const own = ticket.url.startsWith("/");
    const form = new FormData();
    for (const [name, value] of Object.entries(ticket.fields)) form.append(name, value);
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", ticket.url);
    if (own) request.setRequestHeader("X-CSRFToken", token());
    request.upload.addEventListener("progress", (event) => (bar.value = Math.min(event.loaded, file.size)));
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve();
      let problem = "This file was refused. Choose it again.";
      try {
        problem = JSON.parse(request.responseText).problem ?? problem;
      } catch {
        // The bucket speaks XML.
      }
      reject(new Error(problem));
    });
    request.addEventListener("error", () => reject(new Error("The connection broke off. Choose the file again.")));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });

const upload = async (place, file) => {
  const list = place.querySelector(".uploads");
  const parts = line(file);
  list.append(parts.item);
  const limit = Number(place.dataset.limit);
  let ticket;
  try {
    if (file.size > limit) throw new Error(`This file is larger than ${Math.round(limit / 1048576)} MB.`);
    const { purpose, course } = place.dataset;
    const fields = { purpose, course, name: file.name, size: file.size };
    ticket = await (await post(place.dataset.uploads, fields, parts.signal)).json();
    await send(ticket, file, parts);
    const html = await (await post(ticket.confirm, {}, parts.signal)).text();
    const template = document.createElement("template");
    template.innerHTML = html;
    const ready = template.content.firstElementChild;
    parts.item.replaceWith(ready);
    htmx.process(ready);
    // A draft is kept of what stands in the form, files too.
    place.dispatchEvent(new Event("input", { bubbles: true }));
  } catch (error) {
    if (ticket) post(ticket.discard).catch(() => {});
    if (error.name === "AbortError") parts.item.remove();
    else fail(parts.item, file.name, error.message);
  }
};

const under = new Map();
document.addEventListener("change", (event) => {
  const input = event.target;
  const place = input.closest?.("[data-uploads]");
  if (place && input.type === "file") {
    const files = [...input.files];
    input.value = "";
    // One after the other: a slow line is not shared by ten.
    const before = under.get(place) ?? Promise.resolve();
    under.set(place, files.reduce((wait, file) => wait.then(() => upload(place, file)), before));
  } else if (input.dataset?.discard) {
    const item = input.closest(".upload");
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    (next?.querySelector("input[type=checkbox]") ?? document.querySelector("[data-uploads] input[type=file]"))?.focus();
    post(input.dataset.discard).catch(() => {});
  }
});

// Files can be dropped on a form, and pictures pasted into its text.
for (const kind of ["dragover", "drop", "paste"]) {
  document.addEventListener(kind, (event) => {
    const place = event.target.closest?.("form")?.querySelector("[data-uploads]");
    const files = [...((event.dataTransfer ?? event.clipboardData)?.files ?? [])];
    if (!place || (kind !== "dragover" && !files.length)) return;
    if (kind === "dragover" && !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    const before = under.get(place) ?? Promise.resolve();
    if (kind !== "dragover") {
      under.set(place, files.reduce((wait, file) => wait.then(() => upload(place, file)), before));
    }
  });
}

// Nothing is posted while a file is still being sent: it would be left behind.
document.addEventListener(
  "submit",
  (event) => {
    const sending = event.target.querySelector(".upload.pending progress");
    if (!sending) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const place = sending.closest("[data-uploads]");
    under.get(place)?.then(() => event.target.requestSubmit(event.submitter));
  },
  true,
);
