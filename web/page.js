// The left side: a chat over /v1/chat/completions. Messages are sent whole each time, as all clients
// do; that this costs nothing is what the right side shows.

import {draw} from "./cache.js";

const BUSY_MS = 250, IDLE_MS = 2000;  // between two looks at the cache
const at = (id) => document.getElementById(id);
const messages = [];  // {role, content, reasoning, cost: [texts]}
let running = null;   // AbortController of the answer that comes
let key = sessionStorage.getItem("varve-key") ?? "";

function headers() {
  return {"Content-Type": "application/json", ...(key ? {Authorization: `Bearer ${key}`} : {})};
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

async function ask(path, options = {}) {
  const asked = key;
  const reply = await fetch(path, {...options, headers: headers()});
  if (reply.ok) return reply;
  if (reply.status === 401 && asked === key) at("key-form").hidden = false;
  const problem = await reply.json().catch(() => null);
  throw new Error(problem?.error?.message ?? `the server answered ${reply.status}`);
}

// ---- messages

function button(text, name, action) {
  const out = document.createElement("button");
  out.type = "button";
  out.textContent = text;
  out.className = name;
  out.addEventListener("click", action);
  return out;
}

function makeMessage(message, index) {
  const out = document.createElement("article");
  out.className = `message ${message.role}`;
  const who = document.createElement("div");
  who.className = "who";
  who.append(message.role === "user" ? "you" : "model");
  who.append(message.role === "user" ? button("edit", "edit", () => edit(index))
                                     : button("again", "again", () => again(index)));
  const reasoning = document.createElement("details");
  reasoning.hidden = true;
  const body = document.createElement("div");
  body.className = "body";
  const cost = document.createElement("div");
  cost.className = "cost";
  out.append(who, reasoning, body, cost);
  return out;
}

function show(message, node) {
  node.querySelector(".body").textContent = message.content;
  const reasoning = node.querySelector("details");
  if (message.reasoning) {
    if (!reasoning.firstChild) {
      const summary = document.createElement("summary");
      summary.textContent = "reasoning";
      reasoning.append(summary, "");
    }
    reasoning.lastChild.textContent = message.reasoning;
    reasoning.hidden = false;
  }
  node.querySelector(".cost").textContent = message.cost.join("; ");
}

function push(message) {
  messages.push(message);
  const node = makeMessage(message, messages.length - 1);
  show(message, node);
  at("messages").append(node);
  node.scrollIntoView({block: "end"});
  return node;
}

function cutTo(n) {
  messages.length = n;
  while (at("messages").children.length > n) at("messages").lastChild.remove();
}

function edit(index) {
  if (running) return;
  at("text").value = messages[index].content;
  cutTo(index);
  at("text").focus();
}

function again(index) {
  if (running) return;
  cutTo(index);
  answer();
}

// ---- an answer

// The data of each event of a stream.
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

function take(chunk, message) {
  if (chunk.error) throw new Error(chunk.error.message);
  const delta = chunk.choices?.[0]?.delta ?? {};
  message.content += delta.content ?? "";
  message.reasoning += delta.reasoning_content ?? "";
  if (chunk.usage) {
    const {prompt_tokens: n, prompt_tokens_details: details} = chunk.usage;
    message.cost.push(`${details.cached_tokens} of ${n} prompt tokens known`);
  }
}

function setRunning(controller) {
  running = controller;
  at("send").hidden = controller !== null;
  at("stop").hidden = controller === null;
}

async function answer() {
  const asked = messages.map(({role, content}) => ({role, content}));
  const message = {role: "assistant", content: "", reasoning: "", cost: []};
  const node = push(message);
  setRunning(new AbortController());
  complain("");
  look();
  const began = performance.now();
  try {
    const reply = await ask("/v1/chat/completions", {
      method: "POST",
      signal: running.signal,
      body: JSON.stringify({
        messages: asked,
        temperature: Number(at("temperature").value),
        max_tokens: Number(at("max-tokens").value),
        stream: true,
        stream_options: {include_usage: true},
      }),
    });
    for await (const chunk of events(reply)) {
      take(chunk, message);
      if (message.cost.length === 0 && (message.content || message.reasoning)) {
        message.cost.push(`first token after ${((performance.now() - began) / 1000).toFixed(2)} s`);
      }
      show(message, node);
      node.scrollIntoView({block: "end"});
    }
    if (!message.content && !message.reasoning) complain("the model said nothing");
  } catch (problem) {
    if (problem.name !== "AbortError") complain(problem.message);
  }
  const isLast = messages.at(-1) === message;  // not after "New chat"
  if (isLast && !message.content && !message.reasoning) cutTo(messages.length - 1);
  setRunning(null);
  look();
}

function send() {
  const text = at("text").value;
  if (running || !text.trim()) return;
  at("text").value = "";
  push({role: "user", content: text, cost: []});
  answer();
}

// ---- the cache

let timer = 0, looking = false;

async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(timer);
  try {
    if (!document.hidden) draw(await (await ask("/v1/cache")).json());
    at("cache-problem").hidden = true;
  } catch (problem) {
    at("cache-problem").textContent = problem.message;
    at("cache-problem").hidden = false;
  }
  looking = false;
  timer = setTimeout(look, running ? BUSY_MS : IDLE_MS);
}

async function begin() {
  try {
    const {data: [model]} = await (await ask("/v1/models")).json();
    at("key-form").hidden = true;
    at("model").textContent = `${model.id}, contexts of ${model.max_model_len.toLocaleString("en")} tokens`;
    complain("");
  } catch (problem) {
    complain(problem.message);
  }
  look();
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask").requestSubmit();  // which looks at the settings too
  }
});
at("stop").addEventListener("click", () => running?.abort());
at("new").addEventListener("click", () => {
  running?.abort();
  cutTo(0);
  complain("");
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value;
  sessionStorage.setItem("varve-key", key);
  at("key-form").hidden = true;
  begin();
});
document.addEventListener("visibilitychange", look);
addEventListener("resize", look);
begin();
