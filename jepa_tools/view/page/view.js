// Shows what the server sends over the WebSocket, and sends back what a person orders. See page_server.py.
import { ArmScene } from "./scene.js";
import { Curves } from "./curves.js";

const RECONNECT_MS = 1500;
const VALUES = [
  ["step", "steps taken"], ["energy", "energy"], ["predicted_energy", "energy expected after the plan"], ["surprise", "surprise"],
  ["plan_seconds", "time of a plan, s"], ["image_age", "age of the picture, s"], ["joint_state_age", "age of the joint states, s"],
];
const HEALTH = ["good", "warn", "bad", "bad"];

const element = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const scene = new ArmScene(element("arm"), element("arm-note"));
const curves = new Curves(element("energy-plot"), element("surprise-plot"), element("plan-plot"));
let socket = null;
let mayCommand = false;

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { setRights(false); curves.clear(); if (token) send({ token }); };
  socket.onmessage = (event) => receive(event.data);
  socket.onclose = () => {
    setState("offline", "the view does not answer; trying again");
    setRights(false);
    setTimeout(connect, RECONNECT_MS);
  };
}

const send = (order) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(order));

function receive(data) {
  if (typeof data === "string") return handle(JSON.parse(data), null);
  const bytes = new Uint8Array(data), end = bytes.indexOf(10);
  handle(JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))), new Blob([bytes.subarray(end + 1)]));
}

function handle(notice, picture) {
  const [kind, name] = [notice.kind.split(" ", 1)[0], notice.kind.slice(notice.kind.indexOf(" ") + 1)];
  const handlers = {
    setup: showSetup, status: showStatus, points: ({ points }) => curves.add(points), rights: (rights) => setRights(rights.may_command),
    answer: ({ text }) => { element("answer").textContent = text; }, shape: (shape) => scene.setShape(shape),
    arm: ({ places }) => scene.setPlaces(places), paths: ({ lines }) => scene.setLines(lines),
    camera: () => showCamera(name, notice, picture), goal: () => showGoal(notice, picture), imagined: () => showImagined(picture),
    health: () => showHealth(name, notice),
  };
  handlers[kind]?.(notice);
}

// --- pictures --------------------------------------------------------------------------------------------------------

function showPicture(image, picture) {
  const url = URL.createObjectURL(picture);
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  image.src = url;
  image.hidden = false;
}

function showSetup({ cameras, goals }) {
  document.querySelectorAll(".camera").forEach((tile) => tile.remove());
  cameras.forEach((topic, index) => element("goal-tile").before(cameraTile(topic, index === 0)));
  element("offered").replaceChildren(...goals.map(offeredGoal));
}

function cameraTile(topic, isFirst) {
  const tile = document.createElement("figure");
  tile.className = "tile camera";
  tile.dataset.topic = topic;
  tile.innerHTML = '<figcaption></figcaption><div class="frame"><img hidden><p class="note">no picture yet</p></div>';
  tile.querySelector("figcaption").textContent = isFirst ? "sees" : `sees, ${topic}`;
  tile.querySelector("img").alt = `what ${topic} shows`;
  if (isFirst) {
    const button = document.createElement("button");
    button.className = "set-goal";
    button.textContent = "set this picture as goal";
    button.onclick = () => send({ goal_frame: Number(tile.dataset.frame) });
    tile.append(button);
  }
  return tile;
}

function showCamera(topic, notice, picture) {
  const tile = document.querySelector(`.camera[data-topic="${CSS.escape(topic)}"]`);
  if (tile) fillTile(tile, notice, picture);
  if (tile && picture) tile.dataset.frame = notice.frame;
}

const showGoal = (notice, picture) => fillTile(element("goal-tile"), notice, picture);

function fillTile(tile, notice, picture) {
  const note = tile.querySelector(".frame .note");
  note.textContent = notice.error ?? "";
  note.hidden = Boolean(picture);
  if (picture) showPicture(tile.querySelector("img"), picture); else tile.querySelector("img").hidden = true;
}

function offeredGoal(name) {
  const figure = document.createElement("figure"), button = document.createElement("button"), image = new Image();
  image.src = `goals/${encodeURIComponent(name)}`;
  image.alt = name;
  button.append(image);
  button.title = `make ${name} the goal`;
  button.onclick = () => send({ goal_offered: name });
  figure.append(button);
  return figure;
}

async function showImagined(picture) {
  const strip = await createImageBitmap(picture), side = strip.height, count = Math.round(strip.width / side);
  const figures = Array.from({ length: count }, (_, index) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
    canvas.width = canvas.height = side;
    canvas.getContext("2d").drawImage(strip, index * side, 0, side, side, 0, 0, side, side);
    caption.textContent = index === 0 ? "now" : index === count - 1 ? "goal" : `step ${index}`;
    if (index === count - 1) figure.className = "goal";
    figure.append(canvas, caption);
    return figure;
  });
  element("imagined").replaceChildren(...figures);
  element("no-imagined").textContent = "All drawn from latents: what the model knows of now, expects of each step, and wants.";
}

// --- the planner -----------------------------------------------------------------------------------------------------

function setState(state, reason) {
  element("state").textContent = state;
  element("state").className = `badge ${state}`;
  element("reason").textContent = reason;
}

function showStatus(status) {
  setState(status.state, status.reason);
  element("model").textContent = status.model;
  element("progress").textContent = status.sub_goals > 1 ? `picture ${Math.min(status.sub_goal + 1, status.sub_goals)} of ${status.sub_goals}` : "";
  element("values").replaceChildren(...VALUES.map(([name, words]) => row(words, number(status[name]))));
}

function row(...texts) {
  const line = document.createElement("tr");
  line.append(...texts.map((text) => { const cell = document.createElement("td"); cell.textContent = text; return cell; }));
  return line;
}

const number = (value) => value === null || value === undefined ? "–" : Number.isInteger(value) ? `${value}` : value.toPrecision(3);

function showHealth(name, { level, message }) {
  const id = `health-${name}`;
  let item = element(id);
  if (!item) {
    item = document.createElement("li");
    item.id = id;
    element("health").append(item);
  }
  item.className = HEALTH[level] ?? "bad";
  item.replaceChildren(document.createElement("b"), `${name.replace(/: state$/, "")}: ${message}`);
}

// --- orders ----------------------------------------------------------------------------------------------------------

function setRights(may) {
  mayCommand = may;
  document.body.classList.toggle("looks-only", !may);
  element("answer").textContent = may ? "" : "looking only: the address with the token may command";
}

document.querySelectorAll("[data-order]").forEach((button) => { button.onclick = () => send({ order: button.dataset.order }); });
element("file").onchange = async (event) => {
  const [file] = event.target.files;
  if (file && mayCommand) socket.send(await file.arrayBuffer());
  event.target.value = "";
};

connect();
