// SPDX-License-Identifier: Apache-2.0
/** The connection to the session: signalling and peer together, made again by itself until the session has ended. */

import { Peer } from "./peer.js";
import { CLOSE_ENDED, CLOSE_REFUSED, CLOSE_RESTART, Signaling } from "./signaling.js";

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 5000;
const CONNECT_TIMEOUT_MS = 15000;
const LAST_WORD_MS = 300;

/**
 * Events (CustomEvent, `detail` in brackets): `state` [{state, text}] with state connecting, connected, waiting (tries again by
 * itself) or ended (does not); `track` [{track, receiver}]; `open` [welcome]; `message` [object]; `closing`.
 */
export class Connection extends EventTarget {
  #output;
  #signaling = null;
  #peer = null;
  #welcome = null;
  #timer = 0;
  #deadline = 0;
  #attempts = 0;
  #state = "new";

  /** @param {number} output the guest's output that is to be seen */
  constructor(output) {
    super();
    this.#output = output;
  }

  get state() { return this.#state; }
  get viewer() { return this.#welcome?.viewer ?? null; }
  get role() { return this.#welcome?.role ?? null; }

  start() {
    clearTimeout(this.#timer);
    this.#setState("connecting", "");
    this.#deadline = setTimeout(
      () => this.#retry("No picture yet: the media (UDP) may be blocked on the way."), CONNECT_TIMEOUT_MS);
    this.#signaling = new Signaling({
      onMessage: (message) => this.#handleSignal(message),
      onClose: (code, reason, opened) => this.#handleClose(code, reason, opened),
    });
  }

  /** Tries again now. */
  restart() {
    this.#drop();
    this.#attempts = 0;
    this.start();
  }

  /** Leaves on purpose; does not come back. */
  leave() {
    this.#drop();
  }

  send(message) { return this.#state === "connected" && this.#peer.send(message); }
  sendMotion(message) { return this.#state === "connected" && this.#peer.sendMotion(message); }
  async getStats() { return this.#peer?.getStats(); }

  #handleSignal(message) {
    if (message.type === "welcome") this.#begin(message);
    else if (message.type === "answer") {
      this.#peer?.accept(message.sdp).catch((error) => this.#retry(`The answer was not understood: ${error.message}`));
    } else if (message.type === "error") console.warn("signalling:", message.message);
  }

  #begin(welcome) {
    if (this.#peer) return;
    this.#welcome = welcome;
    this.#peer = new Peer(this.#output, welcome, {
      signal: (message) => this.#signaling?.send(message),
      onTrack: (track, receiver) => this.#emit("track", { track, receiver }),
      onOpen: () => this.#handleOpen(),
      onMessage: (message) => this.#emit("message", message),
      onFailed: (why) => this.#handlePeerFailure(capitalised(why)),
    });
    this.#peer.offer().catch((error) => this.#retry(`No offer could be made: ${error.message}`));
  }

  #handleOpen() {
    clearTimeout(this.#deadline);
    this.#attempts = 0;
    this.#setState("connected", "");
    this.#emit("open", this.#welcome);
  }

  /** A session that ends closes its channels too; its own word for it, on the WebSocket, may come a moment later. */
  #handlePeerFailure(why) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#retry(why), LAST_WORD_MS);
  }

  async #handleClose(code, reason, opened) {
    if (code === CLOSE_ENDED) return this.#end(reason ? capitalised(reason) : "");
    if (code === CLOSE_REFUSED) return this.#end(`The server refused this viewer: ${reason || "no reason given"}.`);
    if (code === CLOSE_RESTART) return this.#retry("The streamer restarts.");
    if (opened) return this.#retry(reason ? capitalised(reason) : "The connection was lost.");
    // The browser does not say why a WebSocket was not opened; an ordinary request does.
    this.#drop();
    let text = "The server cannot be reached.";
    try {
      const response = await fetch(`/api/session${location.search}`, { cache: "no-store" });
      if (response.status === 401) return this.#end("Its link is no longer good. Ask for a new one.");
      if (response.status === 403) return this.#end("The server does not accept this page's address.");
      text = "The server is not ready.";
    } catch { /* no network, or no server */ }
    return this.#retry(text);
  }

  #retry(text) {
    this.#drop();
    if (this.#state === "ended") return;
    const delay = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#attempts++);
    this.#setState("waiting", text);
    this.#timer = setTimeout(() => this.start(), delay * (0.8 + 0.4 * Math.random()));
  }

  #end(text) {
    this.#drop();
    this.#setState("ended", text);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#deadline);
    this.#signaling?.close();
    this.#signaling = null;
    // While the last picture can still be had.
    if (this.#peer) this.#emit("closing", null);
    this.#peer?.close();
    this.#peer = null;
  }

  #setState(state, text) {
    this.#state = state;
    this.#emit("state", { state, text });
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}
