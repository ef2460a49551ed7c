// /openapi.json as a page. Swagger UI and Redoc would come from other people's servers; this one needs none.
"use strict";

const make = (name, text, parent) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
};

function typeOf(schema) {
  if (!schema) return "";
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).filter((text) => text !== "null").join(" | ");
  return schema.type || "";
}

function example(path, method, route, needsToken) {
  const kinds = Object.keys(route.requestBody ? route.requestBody.content : {});
  const parts = ["curl"];
  if (method === "delete") parts.push("-X DELETE");
  if (needsToken) parts.push("-H 'Authorization: Bearer TOKEN'");
  if (kinds.length === 1 && kinds[0].startsWith("multipart")) parts.push("-F pictures=@one.jpg -F pictures=@two.jpg");
  else if (kinds.length) parts.push(`--data-binary @${kinds[0].startsWith("video") ? "talk.mp4" : "photo.jpg"}`);
  const answers = Object.keys(route.responses["200"]?.content || {});
  const suffix = { "image/png": "png", "application/zip": "zip", "video/mp4": "mp4" }[answers[0]];
  if (suffix) parts.push(`-o result.${suffix}`);
  return `${parts.join(" ")} '${location.origin}${path.replace("{job_id}", "ID")}'`;
}

function show(path, method, route, needsToken) {
  const box = make("article", "", document.getElementById("routes"));
  make("h3", `${method.toUpperCase()} ${path}`, box);
  make("p", [route.summary, route.description].filter(Boolean).join(". "), box);
  for (const parameter of route.parameters || []) {
    const line = make("p", "", box);
    make("code", parameter.name, line);
    const given = parameter.schema.default === undefined ? "" : `, else ${parameter.schema.default}`;
    line.append(` ${typeOf(parameter.schema)}${given}. ${parameter.description || ""}`);
  }
  if (route.requestBody) make("p", `Body: ${Object.keys(route.requestBody.content).join(", ")}`, box);
  const codes = Object.entries(route.responses).map(([code, one]) => `${code} ${Object.keys(one.content || {}).join(", ")}`);
  const list = make("p", `Answers: ${codes.map((code) => code.replace(" application/json", "")).join("; ")}`, box);
  list.className = "quiet";
  make("pre", example(path, method, route, needsToken), box);
}

fetch("/openapi.json").then((response) => response.json()).then((described) => {
  document.getElementById("about").textContent = described.info.description;
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, route] of Object.entries(methods)) show(path, method, route, Boolean(described.security));
  }
});
