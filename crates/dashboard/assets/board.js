// Live updates. The server writes every part of a page; here they are only put in place.
"use strict";
(() => {
  const page = document.body.dataset.page;
  const live = document.getElementById("live");
  const pad = (n) => String(n).padStart(2, "0");

  // The server's clock less this browser's, in seconds: ages are right on a phone whose clock is not.
  let ahead = Number(document.body.dataset.now || 0) - Date.now() / 1000;
  if (!Number(document.body.dataset.now)) ahead = 0;

  const age = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 2) return "just now";
    if (s < 60) return `${s} s ago`;
    if (s < 3600) return `${Math.floor(s / 60)} min ago`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
    return `${Math.floor(s / 86400)} d ago`;
  };

  const clock = (at) => {
    const date = new Date(at * 1000);
    return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  };

  const times = (root) => {
    const now = Date.now() / 1000 + ahead;
    for (const time of root.querySelectorAll("time[data-at]")) {
      const at = Number(time.dataset.at);
      const text = "age" in time.dataset ? age(now - at) : clock(at);
      if (time.textContent !== text) {
        time.textContent = text;
        time.title = new Date(at * 1000).toString();
      }
    }
  };

  // Puts a part in place. What was opened stays open, what had the focus keeps it, logs stay where they
  // were scrolled to.
  const place = ({ id, html }) => {
    const part = document.getElementById(id);
    if (!part || part.querySelector(".charts")) return;
    const marks = new Map();
    for (const details of part.querySelectorAll("details[data-key]")) {
      const pre = details.querySelector("pre");
      marks.set(details.dataset.key, { open: details.open, top: pre ? pre.scrollTop : 0 });
    }
    const focus = part.contains(document.activeElement) ? document.activeElement : null;
    const href = focus && focus.getAttribute("href");
    const key = focus && focus.closest("details[data-key]") && focus.closest("details[data-key]").dataset.key;
    const scrolled = [...part.querySelectorAll(".long, .scroll")].map((box) => [box.scrollTop, box.scrollLeft]);
    part.innerHTML = html;
    [...part.querySelectorAll(".long, .scroll")].forEach((box, index) => {
      [box.scrollTop, box.scrollLeft] = scrolled[index] || [0, 0];
    });
    for (const details of part.querySelectorAll("details[data-key]")) {
      const mark = marks.get(details.dataset.key);
      if (!mark) continue;
      details.open = mark.open;
      const pre = details.querySelector("pre");
      if (pre) pre.scrollTop = mark.top;
    }
    if (href) {
      const again = [...part.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === href);
      if (again) again.focus({ preventScroll: true });
    } else if (key) {
      const again = [...part.querySelectorAll("details[data-key]")].find((one) => one.dataset.key === key);
      if (again) again.querySelector("summary").focus({ preventScroll: true });
    }
    times(part);
  };

  const say = (state, text) => {
    if (live.dataset.state !== state) {
      live.dataset.state = state;
      live.textContent = text;
    }
  };

  times(document);
  setInterval(() => times(document), 1000);
  if (!page) return;

  const events = new EventSource(`/events?page=${encodeURIComponent(page)}`);
  let opened = 0;
  events.addEventListener("open", () => {
    say("on", "live");
    opened += 1;
    // After a gap the charts have a hole: they are told to ask again.
    if (opened > 1) document.dispatchEvent(new CustomEvent("board:again"));
  });
  events.addEventListener("error", () => say("lost", "no connection"));
  events.addEventListener("tick", (event) => {
    ahead = JSON.parse(event.data).at_unix_s - Date.now() / 1000;
  });
  events.addEventListener("part", (event) => place(JSON.parse(event.data)));
  events.addEventListener("sample", (event) => {
    document.dispatchEvent(new CustomEvent("board:sample", { detail: JSON.parse(event.data) }));
  });
})();
