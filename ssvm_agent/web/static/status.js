// SPDX-License-Identifier: Apache-2.0
// Reads /status.json every two seconds and shows it. Texts only ever become text nodes.
"use strict";

const PERIOD_MS = 2000;
const PATIENCE_MS = 5000; // a report never waits for anything: later means that the agent hangs
const before = new Map(); // id -> {bytes, at}: what a rate is measured against
const WORDS = { good: "All is well", warning: "Needs attention", bad: "Something is wrong" };

const at = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== "") made.textContent = text;
  return made;
}

function line(...children) {
  const made = element("div", "line");
  made.append(...children.filter(Boolean));
  return made;
}

function row(...children) {
  const made = element("div", "row");
  made.append(...children.filter(Boolean));
  return made;
}

const pill = (health, text) => element("span", `pill ${health}`, text);
const detail = (...texts) => element("div", "detail", texts.filter(Boolean).join(" · "));

function size(bytes) {
  if (bytes === null || bytes === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes, unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

function bar(label, value, most) {
  const made = element("progress");
  made.max = most || 1;
  if (most) made.value = Math.min(value, most);
  made.setAttribute("aria-label", label);
  return made;
}

function rate(id, bytes, now) {
  const last = before.get(id);
  before.set(id, { bytes, at: now });
  if (!last || now <= last.at || bytes < last.bytes) return null;
  return (bytes - last.bytes) * 1000 / (now - last.at);
}

function work(items, now) {
  return items.map((item) => {
    const speed = item.is_running ? rate(item.id + item.what, item.done_bytes, now) : null;
    const left = speed && item.total_bytes ? (item.total_bytes - item.done_bytes) / speed : null;
    return row(
      line(element("span", "name", item.what), pill(item.health, item.state)),
      item.is_running ? bar(item.what, item.done_bytes, item.total_bytes) : null,
      detail(
        item.total_bytes ? `${size(item.done_bytes)} of ${size(item.total_bytes)}` : size(item.done_bytes),
        speed ? `${size(speed)}/s` : "",
        left ? `${span(left)} left` : "",
        item.id,
      ),
      item.message ? element("div", "message", item.message) : null,
    );
  });
}

function link(report) {
  const it = report.link;
  if (!it) return [];
  const rows = [row(
    line(element("span", "name", it.server || "no server"), pill(it.health, it.state)),
    detail(`for ${span((new Date(report.now) - new Date(it.since)) / 1000)}`,
      it.host_id !== null ? `host id ${it.host_id}` : "",
      it.failures ? `${it.failures} failed attempts` : "",
      it.failing_step ? `failing at: ${it.failing_step}` : ""),
    it.last_error ? element("div", "message", it.last_error) : null,
  )];
  for (const server of report.servers) {
    rows.push(row(line(element("span", "", server.name),
      element("span", "detail", server.is_connected ? "connected" : server.is_avoided ? "to be avoided" : "in reserve"))));
  }
  return rows;
}

function space(store) {
  if (store.total_bytes === null) return "size unknown";
  if (store.used_bytes === null) return `${size(store.total_bytes)}, used space unknown`;
  return `${size(store.used_bytes)} of ${size(store.total_bytes)} used`;
}

const stores = (items) => items.map((store) => row(
  line(element("span", "name", store.url), pill(store.health, store.state)),
  store.used_bytes !== null ? bar(`Used space of ${store.url}`, store.used_bytes, store.total_bytes) : null,
  detail(space(store),
    store.latency_ms !== null ? `${store.latency_ms.toFixed(1)} ms` : "",
    store.version ? `version ${store.version}` : "",
    store.stuck_threads ? `${store.stuck_threads} threads hang` : "", store.name),
  store.message ? element("div", "message", store.message) : null,
));

const certificates = (items) => items.map((one) => row(
  line(element("span", "name", one.subject), pill(one.health, `${one.days_left} days`)),
  detail(one.use, `issued by ${one.issuer}`, `until ${new Date(one.not_after).toLocaleDateString()}`),
));

const lanes = (items) => items.map((lane) => row(line(
  element("span", "name", lane.name), element("span", "detail", `${lane.running} running, ${lane.waiting} waiting`))));

const links = (items, report) => items.map((one) => row(
  line(element("span", "name", one.key),
    element("span", "detail", `expires in ${span((new Date(one.expires) - new Date(report.now)) / 1000)}`)),
  detail(one.path),
));

const warnings = (items) => items.map((one) => row(
  line(element("span", "message", one.text), pill(one.level === "WARNING" ? "warning" : "bad", one.level.toLowerCase())),
  detail(new Date(one.at).toLocaleString()),
));

// Makes what is shown like what is new and keeps the rest: a selection, a reader's place, a bar's motion.
function renew(shown, fresh) {
  if (shown.nodeName !== fresh.nodeName) { shown.replaceWith(fresh); return; }
  if (shown.nodeType === Node.TEXT_NODE) {
    if (shown.data !== fresh.data) shown.data = fresh.data;
    return;
  }
  for (const name of shown.getAttributeNames()) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  renewAll(shown, [...fresh.childNodes]);
}

function renewAll(parent, fresh) {
  const shown = [...parent.childNodes];
  fresh.forEach((node, place) => place < shown.length ? renew(shown[place], node) : parent.append(node));
  shown.slice(fresh.length).forEach((node) => node.remove());
}

function fill(id, rows, empty) {
  renewAll(at(id), rows.length ? rows : [element("p", "empty", empty)]);
  const count = at(`n-${id}`);
  if (count) count.textContent = rows.length ? `(${rows.length})` : "";
}

// It is read aloud when it changes, so it changes only when there is something to say.
function say(health, words) {
  const it = at("health");
  if (it.textContent !== words) it.textContent = words;
  it.className = `health ${health}`;
}

function show(report) {
  const now = performance.now();
  document.body.classList.remove("stale");
  document.title = `${report.host_name}: ${WORDS[report.health].toLowerCase()}`;
  at("host").textContent = report.host_name;
  say(report.health, WORDS[report.health]);
  at("version").textContent = `ssvm-agent ${report.version}`;
  at("uptime").textContent = `up ${span((new Date(report.now) - new Date(report.started)) / 1000)}`;
  at("fresh").textContent = `as of ${new Date(report.now).toLocaleTimeString()}`;
  renewAll(at("problems"), report.problems.map((text) => element("li", "", text)));
  fill("link", link(report), "Not connected yet.");
  fill("stores", stores(report.stores), "The management server has named no store yet.");
  fill("downloads", work(report.downloads, now), "Nothing is being downloaded.");
  fill("uploads", work(report.uploads, now), "Nothing has been uploaded lately.");
  fill("transfers", work(report.transfers, now), "Nobody is fetching a file.");
  fill("lanes", lanes(report.lanes), "No commands yet.");
  fill("certificates", certificates(report.certificates), "No certificate is in use.");
  fill("links", links(report.links, report), "Nothing is published.");
  fill("warnings", warnings(report.warnings), "None since the start.");
}

async function refresh() {
  try {
    const answer = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    document.body.classList.add("stale");
    document.title = "The agent does not answer";
    say("bad", document.title);
  }
}

async function live() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => setTimeout(done, PERIOD_MS));
  }
}

live();
