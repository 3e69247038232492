// SPDX-License-Identifier: Apache-2.0
/**
 * The keyboard. Ordinary keys go as keys; what an input method, a dead key or a phone's keyboard composes goes as text.
 * A hidden text field has the focus, since only there do browsers compose.
 */

import { TextField } from "./text_field.js";

const MODIFIERS = new Set(["Control", "Shift", "Alt", "AltGraph", "Meta", "OS"]);
// The guest gets the characters that these lead to; their lights stay here.
const LOCKS = new Set(["CapsLock", "NumLock"]);
const SILENT = new Set(["Unidentified", "Process", "Dead"]);
const ALTGR_WAIT_MS = 40;
const PASTE_WAIT_MS = 200;

const platform = navigator.userAgentData?.platform ?? navigator.platform ?? "";
const isMac = /^(mac|iphone|ipad)/i.test(platform);
const isWindows = /^win/i.test(platform);

export class Keyboard {
  #send;
  #handlers;
  #field;
  #held = new Map(); // code → the key message that pressed it
  #isEnabled = false;
  #control = null; // Windows: a Control that may be the first half of AltGr
  #paste = null; // the key of a paste shortcut, which waits for the clipboard

  /**
   * @param {HTMLTextAreaElement} element
   * @param {(message: object) => boolean} send
   * @param {{onShortcut: (code: string) => boolean, onPaste: (text: string) => void, onGesture: () => void}} handlers
   *   onShortcut gets Ctrl+Alt+Shift combinations first, and says whether they were its own.
   */
  constructor(element, send, handlers) {
    this.#send = send;
    this.#handlers = handlers;
    this.#field = new TextField(element, {
      onText: (text) => this.#text(text),
      onKey: (key) => this.#tap({ key, code: key, location: 0 }),
    });
    element.addEventListener("keydown", (event) => this.#handleDown(event));
    element.addEventListener("keyup", (event) => this.#handleUp(event));
    element.addEventListener("paste", (event) => this.#handlePaste(event));
    element.addEventListener("copy", (event) => event.preventDefault());
    element.addEventListener("cut", (event) => event.preventDefault());
    element.addEventListener("blur", () => this.releaseAll());
    window.addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") this.releaseAll(); });
  }

  set enabled(value) {
    if (!value) this.releaseAll();
    this.#isEnabled = value;
    if (value) this.focus();
  }

  /** Takes the keys; a phone's own keyboard comes up only when asked for. */
  focus({ touch = false, show = false } = {}) { this.#field.focus({ touch, show }); }

  /** Puts the place where an input method shows its choices. */
  placeAt(clientX, clientY) { this.#field.placeAt(clientX, clientY); }

  /** Releases all keys and buttons, here and in the guest. */
  releaseAll() {
    this.#cancelControl();
    if (this.#paste) clearTimeout(this.#paste.timer);
    this.#paste = null;
    this.#held.clear();
    this.#field.reset();
    if (this.#isEnabled) {
      this.#send({ type: "release_all" });
      this.#handlers.onReleased?.();
    }
  }

  /** A new connection: the guest holds nothing. */
  reset() {
    this.#held.clear();
  }

  #handleDown(event) {
    if (!this.#isEnabled) return;
    this.#handlers.onGesture();
    if (event.ctrlKey && event.altKey && event.shiftKey && this.#handlers.onShortcut(event.code)) {
      event.preventDefault();
      this.releaseAll();
      return;
    }
    if (this.#field.wants(event)) return;
    const message = keyMessage(event);
    if (SILENT.has(message.key)) return;
    if (!this.#isPaste(event)) event.preventDefault();
    // The guest repeats a held key by itself.
    if (event.repeat || LOCKS.has(message.key)) return;
    if (isWindows && this.#foldAltGr(event, message)) return;
    this.#flushControl();
    if (this.#isPaste(event)) return this.#holdForPaste(event, message);
    this.#down(event, message);
  }

  #down(event, message) {
    // macOS tells nothing of a key that goes up while Command is down.
    if (isMac && event.metaKey && !MODIFIERS.has(message.key)) return this.#tap(message);
    this.#held.set(message.code || message.key, message);
    this.#send({ ...message, down: true });
  }

  #tap(message) {
    this.#send({ type: "key", ...message, down: true });
    this.#send({ type: "key", ...message, down: false });
  }

  #text(text) {
    if (!this.#isEnabled) return;
    this.#flushControl();
    this.#send({ type: "text", text });
  }

  #handleUp(event) {
    if (!this.#isEnabled) return;
    this.#flushControl();
    if (this.#paste && this.#paste.message.code === event.code) this.#releasePaste();
    const message = this.#held.get(event.code || event.key);
    if (!message) return;
    event.preventDefault();
    this.#held.delete(event.code || event.key);
    // By the name under which it went down: Shift may have gone up in between.
    this.#send({ ...message, down: false });
    if (isMac && event.key === "Meta") this.#releaseOrdinary();
    // Windows loses the up of one Shift when both are held.
    if (isWindows && event.key === "Shift") this.#releaseWhere(({ key }) => key === "Shift");
  }

  #releaseOrdinary() { this.#releaseWhere(({ key }) => !MODIFIERS.has(key)); }

  #releaseWhere(matches) {
    for (const [code, message] of this.#held) {
      if (!matches(message)) continue;
      this.#held.delete(code);
      this.#send({ ...message, down: false });
    }
  }

  /** Windows sends AltGr as a left Control and at once a right Alt: only the second is real. */
  #foldAltGr(event, message) {
    if (event.code === "ControlLeft") {
      this.#control = { message, stamp: event.timeStamp, timer: setTimeout(() => this.#flushControl(), ALTGR_WAIT_MS) };
      return true;
    }
    if (this.#control && event.code === "AltRight" && event.timeStamp - this.#control.stamp < ALTGR_WAIT_MS) {
      this.#cancelControl();
      this.#down(event, { ...message, key: "AltGraph" });
      return true;
    }
    return false;
  }

  #flushControl() {
    const control = this.#control;
    if (!control) return;
    this.#cancelControl();
    this.#held.set(control.message.code, control.message);
    this.#send({ ...control.message, down: true });
  }

  #cancelControl() {
    if (this.#control) clearTimeout(this.#control.timer);
    this.#control = null;
  }

  #isPaste({ code, key, ctrlKey, metaKey, altKey, shiftKey }) {
    if (altKey) return false;
    return ((ctrlKey || metaKey) && (key === "v" || key === "V" || (code === "KeyV" && key.length === 1 && key > "~")))
      || (shiftKey && !ctrlKey && key === "Insert");
  }

  /** The browser gives its clipboard with the paste that follows the key; the guest must have it before the key. */
  #holdForPaste(event, message) {
    if (this.#paste) this.#releasePaste();
    this.#paste = { event, message, timer: setTimeout(() => this.#releasePaste(), PASTE_WAIT_MS) };
  }

  #releasePaste() {
    const { event, message, timer } = this.#paste;
    clearTimeout(timer);
    this.#paste = null;
    this.#down(event, message);
  }

  #handlePaste(event) {
    event.preventDefault();
    if (!this.#isEnabled) return;
    const text = event.clipboardData?.getData("text/plain");
    if (text) this.#handlers.onPaste(text);
    if (this.#paste) this.#releasePaste();
  }
}

function keyMessage(event) {
  let { key, code, location } = event;
  // Option makes characters as AltGr does elsewhere.
  if (isMac && key === "Alt") [key, code, location] = ["AltGraph", "AltRight", 2];
  return { type: "key", key, code, location };
}
