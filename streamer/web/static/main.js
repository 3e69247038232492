// SPDX-License-Identifier: Apache-2.0
/** Wires the client's parts together. */

import { Clipboard } from "./clipboard.js";
import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { Cursor } from "./cursor.js";
import { FrameStats } from "./frame_stats.js";
import { Fullscreen } from "./fullscreen.js";
import { Keyboard } from "./input/keyboard.js";
import { Pointer } from "./input/pointer.js";
import { Menu } from "./menu.js";
import { Notices, Panel } from "./notices.js";
import { Outputs, wantedOutput } from "./outputs.js";
import { Overlay } from "./overlay.js";
import { Painter, hasGpu, isPaintingSupported } from "./painter.js";
import { Resizer } from "./resize.js";
import { Screen } from "./screen.js";
import { ShareDialog } from "./share.js";
import { Sound } from "./sound.js";

const FAST_PINGS = 6;
const FAST_PING_MS = 150;
const PING_MS = 2000;

const element = (id) => document.getElementById(id);
const stage = element("stage");
const output = wantedOutput(location.hash);
const connection = new Connection(output);
const send = (message) => connection.send(message);
const notices = new Notices(element("notices"));
const elements = { video: element("screen"), canvas: element("canvas"), still: element("still") };
const screen = new Screen(stage, element("frame"), elements, wantsCanvas());
const cursor = new Cursor(stage, screen);
const clock = new Clock();
const frameStats = new FrameStats(clock, send);
const clipboard = new Clipboard(send, notices);
const resizer = new Resizer(stage, send);
let isTouch = matchMedia("(pointer: coarse)").matches;
let isPictured = false;
let pings = 0;
let pingTimer = 0;
let sessionName = document.title;
let latestState = { state: "new", text: "" };

const keyboard = new Keyboard(element("keys"), send, {
  onShortcut: handleShortcut,
  onPaste: (text) => clipboard.offer(text),
  onGesture: () => clipboard.gesture(),
  onReleased: () => pointer.forget(),
});
const pointer = new Pointer(stage, screen, connection, {
  onPress: (event) => {
    isTouch = event.pointerType === "touch";
    keyboard.placeAt(event.clientX, event.clientY);
    keyboard.focus({ touch: isTouch });
    clipboard.gesture();
  },
});
const sound = new Sound(element("sound"), send, notices, (isOn, isAvailable) => {
  menu.press("sound", isOn);
  menu.allow("sound", isAvailable || isOn);
}, output === 0);
const overlay = new Overlay(element("overlay"), { stats, report: () => connection.getStats() });
const panel = new Panel(element("panel"), () => {
  element("screen").play().catch(() => {});
  if (connection.state !== "connected") connection.restart();
  else panel.hide();
});
const share = new ShareDialog(element("share"), notices, () => keyboard.focus({ touch: isTouch }));
const outputs = new Outputs(element("screens"), output, () => keyboard.focus({ touch: isTouch }));
const fullscreen = new Fullscreen(notices, (isOn) => menu.press("fullscreen", isOn));
const menu = new Menu(element("handle"), element("menu"), {
  fullscreen: () => fullscreen.toggle(),
  "pointer-lock": lockPointer,
  paste: () => clipboard.read(),
  keyboard: () => keyboard.focus({ touch: true, show: true }),
  sound: () => sound.toggle(),
  screens: () => outputs.open(),
  share: () => share.open(),
  statistics: toggleStatistics,
}, () => keyboard.focus({ touch: isTouch }));

/** `#screen=canvas` or `#screen=video` in the address overrides what this browser does best. */
function wantsCanvas() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("screen");
  return isPaintingSupported && (wanted === "canvas" || (wanted !== "video" && !hasGpu()));
}

function handleShortcut(code) {
  if (code === "KeyS") toggleStatistics();
  else if (code === "KeyM") menu.toggle();
  else if (code === "KeyF") fullscreen.toggle();
  else if (code === "KeyP") lockPointer();
  else if (code === "KeyA") sound.toggle();
  else return false;
  return true;
}

function toggleStatistics() {
  overlay.toggle();
  menu.press("statistics", overlay.isShown);
}

async function lockPointer() {
  if (pointer.isLocked) return document.exitPointerLock();
  try {
    await pointer.lock();
    notices.show("The mouse is the session's. Escape gives it back.");
  } catch {
    notices.show("The browser does not allow locking the mouse now.", "warning");
  }
}

function ping() {
  send({ type: "ping", t: performance.now() });
  pings += 1;
  pingTimer = setTimeout(ping, pings < FAST_PINGS ? FAST_PING_MS : PING_MS);
}

const handlers = {
  screen: ({ width, height, coded_width: codedWidth, coded_height: codedHeight, divisor, resizable }) => {
    screen.setSize(width, height, codedWidth, codedHeight, divisor);
    resizer.allowed = Boolean(resizable) && connection.role === "control";
  },
  cursor: (message) => cursor.set(message),
  clipboard: (message) => clipboard.receive(message),
  pong: ({ t, server_ns: serverNs }) => clock.add(t, serverNs, performance.now()),
  owner: ({ viewer }) => { if (viewer === connection.viewer) resizer.repeat(); },
  status: ({ level, message }) => notices.show(message, level, "session"),
  error: ({ message }) => {
    console.warn("session:", message);
    notices.show(message, "warning");
  },
  outputs: handleOutputs,
  pointer: ({ touch }) => { pointer.takesTouch = Boolean(touch); },
  audio: ({ available }) => sound.setAvailable(Boolean(available)),
  frames: (message) => frameStats.addTraces(message),
};

function handleOutputs(message) {
  outputs.set(message, connection.role === "control");
  menu.allow("screens", outputs.isChoice);
  updateTitle();
  const wasOff = document.body.classList.contains("off");
  // One that is being plugged in has no picture yet, but a size to be made in.
  const isOff = !outputs.isOn && (isPictured || !outputs.canPlugIn);
  document.body.classList.toggle("off", isOff);
  if (!outputs.isOn && outputs.canPlugIn) resizer.allowed = true;
  if (isOff) {
    const text = outputs.isChoice ? "The guest shows nothing on it. The menu at the top edge leads to the others." : "The guest shows nothing.";
    panel.show(`Screen ${output + 1} is off`, { text, kind: "final", delayMs: 700 });
  } else if (wasOff && isPictured) panel.hide();
}

function updateTitle() {
  document.title = outputs.label ? `${sessionName}: ${outputs.label}` : sessionName;
}

connection.addEventListener("message", ({ detail }) => {
  if (Object.hasOwn(handlers, detail?.type)) handlers[detail.type](detail);
});

connection.addEventListener("track", ({ detail: { track } }) => {
  if (track.kind === "audio") sound.setTrack(track);
  else screen.setTrack(track);
});

connection.addEventListener("open", ({ detail }) => {
  const isControl = detail.role === "control";
  clock.reset();
  frameStats.reset();
  clipboard.reset();
  pointer.reset();
  keyboard.reset();
  pointer.enabled = isControl;
  keyboard.enabled = isControl;
  clipboard.enabled = isControl;
  sound.open();
  resizer.repeat();
  for (const action of ["share", "paste", "pointer-lock"]) menu.allow(action, isControl);
  if (!isControl) notices.show("You are watching. Your keys and mouse stay here.");
  pings = 0;
  clearTimeout(pingTimer);
  ping();
});

connection.addEventListener("closing", () => {
  screen.hold();
  clearTimeout(pingTimer);
  pointer.enabled = false;
  pointer.takesTouch = false;
  keyboard.enabled = false;
  clipboard.enabled = false;
  resizer.allowed = false;
  cursor.reset();
  if (document.pointerLockElement) document.exitPointerLock();
});

connection.addEventListener("state", ({ detail }) => {
  latestState = detail;
  document.body.classList.toggle("waiting", detail.state !== "connected");
  if (detail.state === "connecting") panel.show(isPictured ? "Reconnecting…" : "Connecting…", { delayMs: isPictured ? 500 : 0 });
  if (detail.state === "connected" && !isPictured) panel.show("Connected", { text: "Waiting for the first picture…", delayMs: 300 });
  if (detail.state === "waiting") panel.show("Reconnecting…", { text: detail.text, delayMs: 500, button: "Try now" });
  if (detail.state === "ended") panel.show("The session has ended", { text: detail.text, kind: "final" });
  if (detail.state === "connected") showPicture();
});

// The first picture and the open channels come in any order.
function showPicture() {
  const video = element("screen");
  if (connection.state !== "connected" || video.readyState < video.HAVE_CURRENT_DATA || !video.videoWidth) return;
  isPictured = true;
  screen.release();
  panel.hide();
}

// "playing" comes when frames flow again, also for a track that takes another's place.
for (const name of ["playing", "resize"]) element("screen").addEventListener(name, showPicture);
element("screen").addEventListener("contextmenu", (event) => event.preventDefault());
screen.addEventListener("blocked", () => panel.show("Ready", {
  text: "The browser waits for you to start the picture.", kind: "final", button: "Start",
}));
addEventListener("pagehide", () => connection.leave());
addEventListener("pageshow", ({ persisted }) => { if (persisted) connection.restart(); });
addEventListener("online", () => { if (connection.state === "waiting") connection.restart(); });
addEventListener("focus", () => { if (!menu.isOpen && !document.querySelector("dialog[open]")) keyboard.focus({ touch: isTouch }); });

function stats() {
  return {
    state: latestState.state,
    text: latestState.text,
    role: connection.role,
    viewer: connection.viewer,
    output,
    takesTouch: pointer.takesTouch,
    width: screen.width,
    height: screen.height,
    divisor: screen.divisor,
    fps: frameStats.fps,
    distinctFrames: frameStats.distinct,
    bitrateBps: frameStats.bitrateBps,
    targetBps: frameStats.targetBps,
    roundTripMs: clock.roundTripMs,
    clockOffsetMs: clock.offsetMs,
    latency: frameStats.latency(),
  };
}

/** For tests and measurements; reads only. `frames()` gives each frame's stages. */
Object.defineProperty(window, "heliograph", {
  value: Object.freeze({ stats, frames: () => frameStats.frames }),
});

menu.allow("fullscreen", Fullscreen.isSupported);
menu.allow("pointer-lock", Boolean(stage.requestPointerLock));
menu.allow("sound", false);
menu.allow("screens", false);
menu.allow("keyboard", isTouch || navigator.maxTouchPoints > 0);
if (screen.isPainted) {
  new Painter(elements.canvas, elements.video, {
    handlePainted: (rtp) => frameStats.handleShown(rtp, performance.now()),
    handleFailure: (error) => {
      console.warn("the picture cannot be painted, the video element shows it:", error);
      screen.showVideo();
    },
  });
}
frameStats.watch(elements.video, () => !screen.isPainted);
if (!window.isSecureContext) {
  notices.show(
    "Plain HTTP: the browser withholds its clipboard and the keyboard lock from this page. Use HTTPS, or localhost.", "warning");
}
fetch(`/api/session${location.search}`).then((response) => response.json()).then(({ name }) => {
  sessionName = name;
  updateTitle();
}).catch(() => {});
// Another output is another page.
addEventListener("hashchange", () => { if (wantedOutput(location.hash) !== output) location.reload(); });
connection.start();
