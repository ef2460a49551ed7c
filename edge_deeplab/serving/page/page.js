// The page: a picture in, its classes drawn over it. Everything comes from this server; nothing is kept.
"use strict";

const at = (id) => document.getElementById(id);
const state = { model: null, picture: null, labels: null, matte: null, token: "", turn: 0 };

async function call(path, options = {}) {
  const headers = { ...(state.token ? { authorization: `Bearer ${state.token}` } : {}), ...options.headers };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) at("access").hidden = false;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(`${problem.error} (${response.status})`);
  }
  return response;
}

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

async function askForModel() {
  try {
    state.model = await (await call("/v1/model")).json();
  } catch (error) {
    say(error.message, true);
    return;
  }
  at("access").hidden = true;
  const { name, kind, labels, sizes_hw: sizes, pictures, max_body_bytes: most } = state.model;
  at("model").textContent = `${name}, ${kind}, ${labels.length} classes, ${sizes.map((size) => size.join(" x ")).join(", ")}`;
  at("formats").textContent = `${pictures}, up to ${Math.round(most / 1e6)} MB`;
  at("cut").hidden = state.model.person_class === null;
  say("");
}

// Grey values of a PNG, one a pixel: indices of labels, or the matte in 0..255.
async function greyOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const grey = new Uint8Array(bitmap.width * bitmap.height);
  for (let index = 0; index < grey.length; index += 1) grey[index] = data[4 * index];
  return { grey, width: bitmap.width, height: bitmap.height };
}

async function segment(file) {
  if (!state.model) await askForModel();
  if (!state.model) return;
  const turn = ++state.turn;
  say(`segmenting ${file.name || "the picture"}`);
  try {
    const picture = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
    const ask = (answer) => call(`/v1/segment?answer=${answer}`, { method: "POST", body: file });
    const start = performance.now();
    const response = await ask("labels");
    const spent = performance.now() - start;
    const labels = await greyOf(await response.blob());
    const matte = state.model.person_class === null ? null : await greyOf(await (await ask("matte")).blob());
    if (turn !== state.turn) return; // another picture came meanwhile
    if (picture === null) throw new Error("this browser cannot show that picture");
    Object.assign(state, { picture, labels, matte });
    at("timing").textContent = timing(response.headers.get("server-timing"), spent);
    at("views").disabled = false;
    at("canvas").hidden = false;
    listClasses();
    draw();
    say(`${labels.width} x ${labels.height} pixels`);
  } catch (error) {
    if (turn === state.turn) say(error.message, true);
  }
}

function timing(header, spent) {
  const stages = (header || "").split(", ").filter(Boolean).map((stage) => {
    const [name, value] = stage.split(";dur=");
    return `${name} ${Number(value).toFixed(0)}`;
  });
  return `${spent.toFixed(0)} ms: ${stages.join(", ")}`;
}

function colourOf(index) {
  const [red, green, blue] = state.model.colours[index];
  return red + green + blue === 0 && index > 0 ? [255, 255, 255] : [red, green, blue];
}

function listClasses() {
  const counts = new Array(state.model.labels.length).fill(0);
  for (const index of state.labels.grey) if (index < counts.length) counts[index] += 1;
  const seen = counts.map((count, index) => ({ count, index })).filter((row) => row.count > 0);
  seen.sort((one, other) => other.count - one.count);
  at("classes").tBodies[0].replaceChildren(...seen.map(({ count, index }) => {
    const row = document.createElement("tr");
    const [patch, name, share] = [0, 1, 2].map(() => row.appendChild(document.createElement("td")));
    const square = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const rectangle = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ width: 16, height: 16, rx: 3, fill: `rgb(${colourOf(index)})` })) {
      rectangle.setAttribute(key, value);
    }
    square.setAttribute("viewBox", "0 0 16 16");
    patch.appendChild(square).appendChild(rectangle);
    name.textContent = state.model.labels[index];
    share.textContent = `${((100 * count) / state.labels.grey.length).toFixed(1)} %`;
    return row;
  }));
}

function isBackground(index) {
  return index === 0 && ["background", "bg", "_background_"].includes(state.model.labels[0].trim().toLowerCase());
}

function draw() {
  if (!state.picture) return;
  const { width, height } = state.labels;
  const canvas = at("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(state.picture, 0, 0, width, height);
  const strength = Number(at("opacity").value) / 100;
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  if (document.querySelector("input[name=view]:checked").value === "cut" && state.matte) {
    for (let index = 0; index < state.matte.grey.length; index += 1) {
      data[4 * index + 3] = 255 - strength * (255 - state.matte.grey[index]);
    }
  } else {
    for (let index = 0; index < state.labels.grey.length; index += 1) {
      const label = state.labels.grey[index];
      if (isBackground(label) || label >= state.model.labels.length) continue;
      const colour = colourOf(label);
      for (let channel = 0; channel < 3; channel += 1) {
        const place = 4 * index + channel;
        data[place] += strength * (colour[channel] - data[place]);
      }
    }
  }
  context.putImageData(pixels, 0, 0);
}

function listen() {
  const drop = at("drop");
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) segment(event.dataTransfer.files[0]);
  });
  drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") at("file").click(); });
  at("file").addEventListener("change", (event) => { if (event.target.files.length) segment(event.target.files[0]); });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) segment(event.clipboardData.files[0]);
  });
  at("opacity").addEventListener("input", () => { at("strength").textContent = `${at("opacity").value} %`; draw(); });
  for (const button of document.querySelectorAll("input[name=view]")) button.addEventListener("change", draw);
  at("access").addEventListener("submit", (event) => {
    event.preventDefault();
    state.token = at("token").value;
    askForModel();
  });
}

listen();
askForModel();
