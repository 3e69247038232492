# SPDX-License-Identifier: Apache-2.0
"""What a page hears of its session's sound."""

from __future__ import annotations

TOLERANCE_HZ = 25
# The loudest frequency of each channel, in Hz; 0 for silence. 12 Hz resolution.
LISTEN = """async () => {
  const context = window.listening ??= new AudioContext();
  await context.resume();
  const stream = document.getElementById("sound").srcObject;
  if (!stream) return [0, 0];
  const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
  const analysers = [0, 1].map((channel) => {
    const analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
    splitter.connect(analyser, channel);
    return analyser;
  });
  const source = context.createMediaStreamSource(stream);
  source.connect(splitter);
  const begin = context.currentTime;
  while (context.currentTime < begin + 0.3) await new Promise(requestAnimationFrame);
  const peaks = analysers.map((analyser) => {
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    const loudest = bins.reduce((best, value, index) => (value > bins[best] ? index : best), 0);
    return bins[loudest] > -60 ? loudest * context.sampleRate / analyser.fftSize : 0;
  });
  source.disconnect();
  return peaks;
}"""


def hears(left_hz: int, right_hz: int) -> str:
    """Return a script that says whether these are heard now."""
    return f"""async () => {{
  const [left, right] = await ({LISTEN})();
  return Math.abs(left - {left_hz}) < {TOLERANCE_HZ} && Math.abs(right - {right_hz}) < {TOLERANCE_HZ};
}}"""
