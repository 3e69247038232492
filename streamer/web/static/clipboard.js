// SPDX-License-Identifier: Apache-2.0
/** Clipboard text in both directions. What the browser does not allow now is done at the next click or key. */

const MAX_BYTES = 1048576;
const PART = 32000;

export class Clipboard {
  #send;
  #notices;
  #last = null; // what both sides have
  #parts = "";
  #pending = null; // from the guest, not yet written here
  #isEnabled = false;
  #hasExplained = false;
  // A session's other windows: what one has brought across, the others must not bring again later.
  #siblings = new BroadcastChannel("heliograph.clipboard");

  constructor(send, notices) {
    this.#siblings.addEventListener("message", ({ data }) => {
      if (typeof data !== "string") return;
      this.#last = data;
      this.#pending = null;
    });
    this.#send = send;
    this.#notices = notices;
    window.addEventListener("focus", () => this.#readIfGranted());
    document.addEventListener("copy", (event) => {
      if (this.#pending === null) return;
      event.clipboardData.setData("text/plain", this.#pending);
      event.preventDefault();
      event.stopImmediatePropagation();
      this.#siblings.postMessage(this.#pending);
      this.#pending = null;
    }, true);
  }

  set enabled(value) {
    this.#isEnabled = value;
    if (value) this.#readIfGranted();
  }

  reset() { this.#parts = ""; }

  /** Text of this computer goes to the guest. */
  offer(text) {
    if (!this.#isEnabled || text === "" || text === this.#last) return;
    if (new TextEncoder().encode(text).length > MAX_BYTES) {
      this.#notices.show("The clipboard's text is longer than 1 MiB and was not sent.", "warning");
      return;
    }
    this.#last = text;
    for (const part of split(text)) this.#send({ type: "clipboard", ...part });
    this.#siblings.postMessage(text);
  }

  /** A clipboard message came from the guest. */
  receive({ text, more }) {
    if (typeof text !== "string" || this.#parts.length + text.length > MAX_BYTES) {
      this.#parts = "";
      return;
    }
    this.#parts += text;
    if (more) return;
    const whole = this.#parts;
    this.#parts = "";
    if (whole === this.#last) return;
    this.#last = whole;
    this.#write(whole);
  }

  /** The person has pressed something: browsers allow now what they did not before. */
  gesture() {
    if (this.#pending === null) return;
    const text = this.#pending;
    if (navigator.clipboard?.writeText) {
      this.#pending = null;
      navigator.clipboard.writeText(text).then(
        () => this.#siblings.postMessage(text), () => { this.#pending ??= text; });
    } else {
      document.execCommand("copy"); // the listener above gives the text; the only way without a secure context
    }
  }

  /** Reads this computer's clipboard, asking if need be; from a click. */
  async read() {
    if (!navigator.clipboard?.readText) {
      this.#notices.show("This browser lets the page read the clipboard only when you paste: press Ctrl+V.", "warning");
      return;
    }
    try {
      this.offer(await navigator.clipboard.readText());
      this.#notices.show("The clipboard was sent.");
    } catch {
      this.#notices.show("The browser does not allow reading the clipboard. Ctrl+V works all the same.", "warning");
    }
  }

  async #write(text) {
    if (!document.hasFocus() || !navigator.clipboard?.writeText) return this.#defer(text);
    try {
      await navigator.clipboard.writeText(text);
      this.#siblings.postMessage(text);
    } catch {
      this.#defer(text);
    }
  }

  #defer(text) {
    this.#pending = text;
    if (!this.#hasExplained && document.hasFocus()) {
      this.#hasExplained = true;
      this.#notices.show("Copied text comes to this computer with your next click or key.");
    }
  }

  /** Without asking: only where the person has allowed it before. */
  async #readIfGranted() {
    if (!this.#isEnabled || !document.hasFocus() || !navigator.clipboard?.readText) return;
    try {
      const { state } = await navigator.permissions.query({ name: "clipboard-read" });
      if (state === "granted") this.offer(await navigator.clipboard.readText());
    } catch { /* this browser has no such permission, or the clipboard holds no text */ }
  }
}

/** Cuts text into parts that fit a message, between characters; exported for tests. */
export function split(text) {
  const parts = [];
  for (let start = 0; start < text.length;) {
    let end = Math.min(text.length, start + PART);
    const unit = text.charCodeAt(end - 1);
    if (end < text.length && unit >= 0xd800 && unit < 0xdc00) end -= 1;
    parts.push({ text: text.slice(start, end), ...(end < text.length ? { more: true } : {}) });
    start = end;
  }
  return parts;
}
