// SPDX-License-Identifier: Apache-2.0
/** Measures when the page is heard to beep and seen to flash; performance.now(), ms. */

// Louder than this after so much quiet is a beep.
const LEVEL = 0.05;
const QUIET_S = 0.1;
const BRIGHT = 128;

const WORKLET = `
registerProcessor("onsets", class extends AudioWorkletProcessor {
  #loud = -1;
  process([[samples]]) {
    for (let index = 0; samples && index < samples.length; index += 1) {
      if (Math.abs(samples[index]) < ${LEVEL}) continue;
      const time = currentTime + index / sampleRate;
      if (time - this.#loud > ${QUIET_S}) this.port.postMessage(time);
      this.#loud = time;
    }
    return true;
  }
});`;

/** Where the output stands: what is heard at context time t is heard at the returned time of the page. */
function heardAt(context, time) {
  const { contextTime, performanceTime } = context.getOutputTimestamp();
  return performanceTime + (time - contextTime) * 1000;
}

/** What shows the picture: the page's canvas where it paints by itself, else its video. */
function picture() {
  const canvas = document.getElementById("canvas");
  return canvas && !canvas.hidden ? canvas : document.getElementById("screen");
}

/**
 * When the client's sound element beeps and when the point x, y of its picture turns bright, as an animation frame finds it;
 * both arrays grow. Needs a user's gesture before.
 */
export async function watchSync(x = 128, y = 128) {
  const sound = document.getElementById("sound");
  const found = { beeps: [], flashes: [], outputLatencyMs: 0 };
  const context = new AudioContext({ latencyHint: 0, sampleRate: 48000 });
  await context.resume();
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
  const onsets = new AudioWorkletNode(context, "onsets", { numberOfOutputs: 0 });
  onsets.port.onmessage = ({ data }) => {
    found.beeps.push(heardAt(context, data));
    found.outputLatencyMs = (context.outputLatency || context.baseLatency) * 1000;
  };
  context.createMediaStreamSource(sound.srcObject).connect(onsets);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  let isBright = false;
  const look = () => {
    canvas.drawImage(picture(), x, y, 1, 1, 0, 0, 1, 1);
    const wasBright = isBright;
    isBright = canvas.getImageData(0, 0, 1, 1).data[0] > BRIGHT;
    if (isBright && !wasBright) found.flashes.push(performance.now());
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  return found;
}
