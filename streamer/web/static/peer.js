// SPDX-License-Identifier: Apache-2.0
/** One WebRTC connection: a video and an audio track in, two data channels. Never reconnects; `Connection` makes a new one. */

const DISCONNECTED_PATIENCE_MS = 3000;

export class Peer {
  #pc;
  #control;
  #motion;
  #patience = 0;
  #closed = false;
  #output;

  /**
   * @param {number} output the guest's output that is to be seen
   * @param {{ice_servers?: RTCIceServer[]}} welcome
   * @param {{
   *   signal: (message: object) => void, onTrack: (track: MediaStreamTrack, receiver: RTCRtpReceiver) => void,
   *   onOpen: () => void, onMessage: (message: object) => void, onFailed: (why: string) => void,
   * }} handlers onFailed is called once, never after `close()`, which is still to be called.
   */
  constructor(output, welcome, handlers) {
    this.#output = output;
    this.handlers = handlers;
    const pc = new RTCPeerConnection({ iceServers: welcome.ice_servers ?? [], bundlePolicy: "max-bundle" });
    this.#pc = pc;
    const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
    preferH264(transceiver);
    // Always offered: to negotiate later would take another offer. Nothing comes before `audio` is switched on.
    pc.addTransceiver("audio", { direction: "recvonly" });
    this.#control = pc.createDataChannel("control");
    this.#motion = pc.createDataChannel("motion", { ordered: false, maxRetransmits: 0 });
    for (const channel of [this.#control, this.#motion]) {
      channel.addEventListener("message", ({ data }) => this.#receive(data));
    }
    let open = 0;
    const opened = () => { if (++open === 2) handlers.onOpen(); };
    this.#control.addEventListener("open", opened);
    this.#motion.addEventListener("open", opened);
    this.#control.addEventListener("close", () => this.#fail("the control channel was closed"));
    pc.addEventListener("track", ({ track, receiver }) => {
      // Picture and sound are wanted at once; smoothing them costs whole frames.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      else if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
      handlers.onTrack(track, receiver);
    });
    pc.addEventListener("icecandidate", ({ candidate }) => {
      handlers.signal({
        type: "candidate",
        candidate: candidate?.candidate ?? "",
        sdpMid: candidate?.sdpMid ?? "0",
        sdpMLineIndex: candidate?.sdpMLineIndex ?? 0,
      });
    });
    pc.addEventListener("connectionstatechange", () => this.#handleState());
  }

  async offer() {
    const { sdp } = await this.#pc.createOffer();
    await this.#pc.setLocalDescription({ type: "offer", sdp: withStereo(sdp) });
    this.handlers.signal({ type: "offer", sdp: this.#pc.localDescription.sdp, output: this.#output });
  }

  async accept(sdp) {
    await this.#pc.setRemoteDescription({ type: "answer", sdp });
  }

  get state() { return this.#pc.connectionState; }

  /** Sends on the reliable channel; false when it is not open. */
  send(message) { return send(this.#control, message); }

  /** Sends on the channel that may lose and reorder; false when it is not open or full. */
  sendMotion(message) { return this.#motion.bufferedAmount < 16384 && send(this.#motion, message); }

  getStats() { return this.#pc.getStats(); }

  close() {
    this.#closed = true;
    clearTimeout(this.#patience);
    this.#pc.close();
  }

  #receive(data) {
    if (this.#closed || typeof data !== "string") return;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      console.warn("data channel: not JSON");
      return;
    }
    this.handlers.onMessage(message);
  }

  #handleState() {
    clearTimeout(this.#patience);
    if (this.#pc.connectionState === "failed") this.#fail("the media connection failed");
    if (this.#pc.connectionState === "disconnected") {
      // Often comes back by itself, and a new connection costs a keyframe.
      this.#patience = setTimeout(() => this.#fail("the media connection was lost"), DISCONNECTED_PATIENCE_MS);
    }
  }

  #fail(why) {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#patience);
    this.handlers.onFailed(why);
  }
}

function send(channel, message) {
  if (channel.readyState !== "open") return false;
  channel.send(JSON.stringify(message));
  return true;
}

/** Browsers play Opus in mono unless their own offer says otherwise (RFC 7587, 7.1); nothing but the SDP can say so. */
function withStereo(sdp) {
  const opus = /^a=rtpmap:(\d+) opus\/48000/im.exec(sdp)?.[1];
  if (!opus || new RegExp(`^a=fmtp:${opus} .*stereo=1`, "m").test(sdp)) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${opus} [^\\r\\n]*)`, "m"), "$1;stereo=1");
}

function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const isH264 = ({ mimeType }) => mimeType.toLowerCase() === "video/h264";
  try {
    transceiver.setCodecPreferences([...codecs.filter(isH264), ...codecs.filter((codec) => !isH264(codec))]);
  } catch (error) {
    console.warn("codec preferences:", error);
  }
}
