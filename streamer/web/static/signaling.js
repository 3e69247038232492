// SPDX-License-Identifier: Apache-2.0
/** The signalling WebSocket: JSON objects in both directions, close codes named. */

export const CLOSE_ENDED = 1001;
export const CLOSE_REFUSED = 1008;
export const CLOSE_RESTART = 1012;

export class Signaling {
  #socket;
  #closed = false;

  /**
   * @param {{onMessage: (message: object) => void, onClose: (code: number, reason: string, opened: boolean) => void}} handlers
   *   onClose is called once, never after `close()`.
   */
  constructor({ onMessage, onClose }) {
    const url = new URL(`/api/signal${location.search}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(url);
    let opened = false;
    this.#socket.addEventListener("open", () => { opened = true; });
    this.#socket.addEventListener("message", ({ data }) => {
      if (this.#closed) return;
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        console.warn("signalling: not JSON");
        return;
      }
      onMessage(message);
    });
    this.#socket.addEventListener("close", ({ code, reason }) => {
      if (this.#closed) return;
      this.#closed = true;
      onClose(code, reason, opened);
    });
  }

  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  close() {
    if (this.#closed) return;
    this.send({ type: "bye" });
    this.#closed = true;
    this.#socket.close(1000);
  }
}
