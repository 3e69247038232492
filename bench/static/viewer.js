// SPDX-License-Identifier: Apache-2.0
/** What a benchmark asks of the client's page. `measure.samples` grows while barcodes are watched. */

const peers = [];
const Stock = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Stock {
  constructor(...options) {
    super(...options);
    peers.push(this);
  }
};

window.measure = {
  samples: [],
  firstPictureMs: null,

  /** Returns when (performance.now(), ms) the first picture was presented; waits for it. */
  async firstPicture() {
    while (!document.getElementById("screen")) await new Promise(requestAnimationFrame);
    const video = document.getElementById("screen");
    return new Promise((resolve) => video.requestVideoFrameCallback(() => resolve(performance.now())));
  },

  /** Bytes and packets on the wire of the newest connection, and what was decoded. */
  async transport() {
    const found = {};
    const peer = peers.at(-1);
    for (const entry of (await peer?.getStats())?.values() ?? []) {
      if (entry.type === "transport") {
        Object.assign(found, {
          bytesReceived: entry.bytesReceived, bytesSent: entry.bytesSent,
          packetsReceived: entry.packetsReceived, packetsSent: entry.packetsSent,
        });
      }
      if (entry.type === "inbound-rtp" && entry.kind === "video") {
        Object.assign(found, {
          framesDecoded: entry.framesDecoded, framesDropped: entry.framesDropped ?? 0, keyFrames: entry.keyFramesDecoded,
          packetsLost: entry.packetsLost, freezes: entry.freezeCount ?? 0, mediaBytes: entry.bytesReceived,
        });
      }
    }
    return found;
  },

  /** All that WebRTC knows of the newest connection. */
  async statistics() { return (await peers.at(-1)?.getStats()) ?? new Map(); },

  /** Starts to read the guest's clock from each presented picture. */
  start(watchBarcodes) {
    watchBarcodes(document.getElementById("screen"), ({ clockNs, rtp, presentMs, nowMs }) => {
      this.samples.push([clockNs === null ? null : Number(clockNs) / 1e6, rtp, presentMs, nowMs]);
    });
  },

  /** Takes the samples that have been made: [guest's clock in ms or null, RTP time, present, told]. */
  take() { return this.samples.splice(0); },
};
