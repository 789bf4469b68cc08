// The arm in 3-D: bodies as triangles with a place each, and lines; drag turns, wheel or two fingers zoom, double click resets.
const HOME = { yaw: 0.9, pitch: 0.45, distance: 1.75, target: [0.25, 0, 0.32] };
const FIELD_OF_VIEW = 0.7;
const LIMITS = { pitch: [-0.2, 1.5], distance: [0.4, 8] };
const FLOATS_PER_CORNER = 11; // of a line: start 3, end 3, side 1, colour 4

const BODY_SHADERS = [`#version 300 es
  uniform mat4 view, place; in vec3 position; out vec3 world;
  void main() { vec4 at = place * vec4(position, 1.); world = at.xyz; gl_Position = view * at; }`, `#version 300 es
  precision highp float; uniform vec3 color, eye; in vec3 world; out vec4 pixel;
  void main() {
    vec3 normal = normalize(cross(dFdx(world), dFdy(world))), toEye = normalize(eye - world);
    float light = .38 + .5 * abs(dot(normal, normalize(vec3(.3, -.5, .8)))) + .22 * abs(dot(normal, toEye));
    pixel = vec4(color * min(light, 1.1), 1.);
  }`];
// A line of a width in pixels is a quad that faces the eye.
const LINE_SHADERS = [`#version 300 es
  uniform mat4 view; uniform vec2 size; uniform float width; in vec3 start, end; in float side; in vec4 color; out vec4 tint;
  void main() {
    vec4 a = view * vec4(start, 1.), b = view * vec4(end, 1.);
    vec2 way = (b.xy / b.w - a.xy / a.w) * size, across = normalize(vec2(-way.y, way.x) + 1e-6);
    gl_Position = a + vec4(across * side * width / size * a.w, 0., 0.); tint = color;
  }`, `#version 300 es
  precision highp float; in vec4 tint; out vec4 pixel; void main() { pixel = vec4(tint.rgb * tint.a, tint.a); }`];

export class ArmScene {
  constructor(canvas, note) {
    this.canvas = canvas;
    this.note = note;
    this.gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
    this.eye = structuredClone(HOME);
    this.bodies = [];
    this.lines = [];
    if (!this.gl) { note.textContent = "this browser has no WebGL 2, so the arm is not drawn"; return; }
    this.bodyProgram = new Program(this.gl, ...BODY_SHADERS);
    this.lineProgram = new Program(this.gl, ...LINE_SHADERS);
    this.lineBuffer = this.gl.createBuffer();
    this.followPointers();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  setShape({ error, bodies = [], missing = [] }) {
    if (!this.gl) return;
    this.note.textContent = error ?? (missing.length ? `${missing.length} meshes are not on the machine that serves this page` : "");
    this.bodies = bodies.map((body) => this.uploaded(body));
    this.draw();
  }

  setPlaces(places) {
    this.bodies.forEach((body, index) => { body.place = placeMatrix(places[index] ?? [0, 0, 0, 0, 0, 0, 1]); });
    this.draw();
  }

  setLines(lines) { this.lines = lines; this.draw(); }

  uploaded({ vertices, triangles, color }) {
    const { gl } = this, [points, corners] = [gl.createBuffer(), gl.createBuffer()], indices = new Uint32Array(bytes(triangles));
    gl.bindBuffer(gl.ARRAY_BUFFER, points);
    gl.bufferData(gl.ARRAY_BUFFER, bytes(vertices), gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, corners);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    return { points, corners, count: indices.length, color, place: placeMatrix([0, 0, 0, 0, 0, 0, 1]) };
  }

  // Once per frame of the screen, however often it is asked for.
  draw() {
    if (this.gl && !this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.render(); });
  }

  render() {
    const { gl, canvas } = this, ratio = devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    if (!canvas.width || !canvas.height) return;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const eye = this.eyePosition(), view = viewMatrix(eye, this.eye.target, canvas.width / canvas.height);
    this.renderBodies(view, eye);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const grid = gridLines(cssColor("--line"));
    this.renderLines([grid], view, 1 * ratio);
    this.renderLines(this.lines.filter(({ width }) => width < 0.004), view, 1.4 * ratio);
    this.renderLines(this.lines.filter(({ width }) => width >= 0.004), view, 3.5 * ratio);
    gl.disable(gl.BLEND);
  }

  renderBodies(view, eye) {
    const { gl, bodyProgram: program } = this;
    program.use();
    gl.uniformMatrix4fv(program.uniform("view"), false, view);
    gl.uniform3fv(program.uniform("eye"), eye);
    for (const { points, corners, count, color, place } of this.bodies) {
      gl.uniformMatrix4fv(program.uniform("place"), false, place);
      gl.uniform3fv(program.uniform("color"), color);
      gl.bindBuffer(gl.ARRAY_BUFFER, points);
      program.attribute("position", 3, 0, 0);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, corners);
      gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
    }
  }

  renderLines(lines, view, width) {
    const { gl, lineProgram: program, canvas } = this, quads = new Float32Array(lines.flatMap(lineQuads));
    program.use();
    gl.uniformMatrix4fv(program.uniform("view"), false, view);
    gl.uniform2f(program.uniform("size"), canvas.width, canvas.height);
    gl.uniform1f(program.uniform("width"), width);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, quads, gl.DYNAMIC_DRAW);
    for (const [name, size, offset] of [["start", 3, 0], ["end", 3, 3], ["side", 1, 6], ["color", 4, 7]]) {
      program.attribute(name, size, FLOATS_PER_CORNER, offset);
    }
    gl.drawArrays(gl.TRIANGLES, 0, quads.length / FLOATS_PER_CORNER);
  }

  eyePosition() {
    const { yaw, pitch, distance, target } = this.eye;
    const away = [Math.cos(yaw) * Math.cos(pitch), Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch)];
    return target.map((value, axis) => value + distance * away[axis]);
  }

  // --- pointers ---

  followPointers() {
    const pointers = new Map(), spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
    this.canvas.onpointerdown = (event) => {
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.canvas.setPointerCapture(event.pointerId);
    };
    this.canvas.onpointerup = this.canvas.onpointercancel = (event) => pointers.delete(event.pointerId);
    this.canvas.onpointermove = (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const before = pointers.size === 2 ? spread() : 0, [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (before) this.zoom(before / Math.max(spread(), 1)); else this.turn(dx, dy);
    };
    this.canvas.onwheel = (event) => { event.preventDefault(); this.zoom(Math.exp(event.deltaY * 0.001)); };
    this.canvas.ondblclick = () => { this.eye = structuredClone(HOME); this.draw(); };
    this.canvas.onkeydown = ({ key }) => {
      const steps = { ArrowLeft: [20, 0], ArrowRight: [-20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] };
      if (steps[key]) this.turn(...steps[key]); else if (key === "+" || key === "-") this.zoom(key === "+" ? 0.9 : 1.1);
    };
  }

  turn(dx, dy) {
    this.eye.yaw -= dx * 0.008;
    this.eye.pitch = clamp(this.eye.pitch + dy * 0.008, ...LIMITS.pitch);
    this.draw();
  }

  zoom(factor) {
    this.eye.distance = clamp(this.eye.distance * factor, ...LIMITS.distance);
    this.draw();
  }
}

class Program {
  constructor(gl, vertex, fragment) {
    this.gl = gl;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(this.program));
  }

  use() {
    for (let index = 0; index < 8; index += 1) this.gl.disableVertexAttribArray(index);
    this.gl.useProgram(this.program);
  }

  uniform(name) { return this.gl.getUniformLocation(this.program, name); }

  attribute(name, size, stride, offset) {
    const place = this.gl.getAttribLocation(this.program, name);
    this.gl.enableVertexAttribArray(place);
    this.gl.vertexAttribPointer(place, size, this.gl.FLOAT, false, stride * 4, offset * 4);
  }
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;

function cssColor(name) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = getComputedStyle(document.body).getPropertyValue(name);
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
}

function gridLines(color) {
  const points = [], half = 1, step = 0.2;
  for (let at = -half; at <= half + 1e-6; at += step) points.push(at, -half, 0, at, half, 0, -half, at, 0, half, at, 0);
  return { points, color };
}

// Two triangles for each pair of points; a corner knows both ends, its own first.
function lineQuads({ points, color }) {
  const corners = [];
  for (let index = 0; index + 5 < points.length; index += 6) {
    const a = points.slice(index, index + 3), b = points.slice(index + 3, index + 6);
    // Seen from the other end, left is right.
    for (const [start, end, side] of [[a, b, 1], [a, b, -1], [b, a, 1], [a, b, 1], [b, a, 1], [b, a, -1]]) {
      corners.push(...start, ...end, side, ...color);
    }
  }
  return corners;
}

// Column by column, as WebGL has them.
function placeMatrix([x, y, z, qx, qy, qz, qw]) {
  return [
    1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qz * qw), 2 * (qx * qz - qy * qw), 0,
    2 * (qx * qy - qz * qw), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qx * qw), 0,
    2 * (qx * qz + qy * qw), 2 * (qy * qz - qx * qw), 1 - 2 * (qx * qx + qy * qy), 0,
    x, y, z, 1,
  ];
}

function viewMatrix(eye, target, aspect) {
  const back = unit(minus(eye, target)), right = unit(cross([0, 0, 1], back)), up = cross(back, right);
  const look = [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
    -dot(right, eye), -dot(up, eye), -dot(back, eye), 1];
  const [near, far, scale] = [0.05, 20, 1 / Math.tan(FIELD_OF_VIEW / 2)];
  // A tall window shows as much to the sides as a square one.
  const [sx, sy] = aspect >= 1 ? [scale / aspect, scale] : [scale, scale * aspect];
  const lens = [sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
  return times(lens, look);
}

const minus = (a, b) => a.map((value, axis) => value - b[axis]);
const dot = (a, b) => a.reduce((sum, value, axis) => sum + value * b[axis], 0);
const cross = ([a, b, c], [x, y, z]) => [b * z - c * y, c * x - a * z, a * y - b * x];
const unit = (a) => a.map((value) => value / Math.hypot(...a));
const times = (a, b) => Array.from({ length: 16 }, (_, at) => [0, 1, 2, 3].reduce((sum, k) => sum + a[at % 4 + 4 * k] * b[k + 4 * Math.floor(at / 4)], 0));
