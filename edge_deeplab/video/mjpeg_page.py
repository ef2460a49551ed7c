"""The page that mjpeg_server.py serves: the pictures, the state below them, buttons for what may be changed.

Nothing comes from elsewhere. The two marks between /* and */ are filled in by the server.
"""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edge-deeplab</title>
<style>
  :root { color-scheme: dark; }
  body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: #14161a; color: #e6e8eb;
         font: 15px/1.5 system-ui, sans-serif; }
  main { flex: 1; display: flex; align-items: center; justify-content: center; padding: 12px; }
  img { max-width: 100%; max-height: calc(100vh - 110px); border-radius: 6px; background: #000; }
  footer { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; padding: 0 12px 12px; }
  #controls { display: flex; flex-wrap: wrap; gap: 8px; }
  button, a { font: inherit; color: inherit; background: #2a2e36; border: 1px solid #3b414c; border-radius: 5px;
              padding: 3px 12px; cursor: pointer; text-decoration: none; }
  button:hover, a:hover { background: #3b414c; }
  #state { margin-left: auto; font-variant-numeric: tabular-nums; color: #aab0ba; }
  #state.bad { color: #ff9b8a; }
</style>
</head>
<body>
<main><img id="pictures" alt="the pictures"></main>
<footer><span id="controls"></span><a id="snapshot" download="snapshot.jpg">save this picture</a>
<span id="says" role="status"></span><span id="state">connecting</span></footer>
<script>
const token = new URLSearchParams(location.search).get("token");
const query = token ? "token=" + encodeURIComponent(token) : "";
const pictures = document.getElementById("pictures"), state = document.getElementById("state");
const says = document.getElementById("says");
let isLost = false;

function watch() { pictures.src = "stream.mjpeg?" + query + "&at=" + Date.now(); }
pictures.onerror = () => { isLost = true; };
document.getElementById("snapshot").href = "snapshot.jpg?" + query;

for (const name of /*CONTROLS*/[]) {
  const button = document.createElement("button");
  button.textContent = name;
  button.onclick = async () => {
    const answer = await fetch("control?" + query + "&name=" + encodeURIComponent(name),
                               { method: "POST", headers: { "/*HEADER*/": "1" } });
    says.textContent = answer.ok ? (await answer.json()).says : await answer.text();
  };
  document.getElementById("controls").append(button);
}

async function ask() {
  try {
    const answer = await fetch("state?" + query);
    if (!answer.ok) throw new Error(await answer.text());
    const now = await answer.json(), parts = [];
    if (now.fps != null) parts.push(now.fps.toFixed(1) + " fps");
    if (now.latency_ms != null) parts.push("latency " + now.latency_ms.toFixed(0) + " ms");
    if (now.chose) parts.push(now.chose);
    if (now.dropped) parts.push(now.dropped + " dropped");
    parts.push(now.viewers + (now.viewers === 1 ? " viewer" : " viewers"));
    if (now.trouble) parts.unshift(now.trouble);
    else if (now.status === "waiting") parts.unshift("waiting for the first picture");
    else if (now.status === "stalled") parts.unshift("no picture for " + now.age_s.toFixed(0) + " s");
    state.textContent = parts.join(", ");
    state.className = now.status === "ok" && !now.trouble ? "" : "bad";
    if (isLost) { isLost = false; watch(); }
  } catch (error) {
    state.textContent = "the program has ended, or cannot be reached";
    state.className = "bad";
    isLost = true;
  }
}
watch();
ask();
setInterval(ask, 1000);
</script>
</body>
</html>
"""
