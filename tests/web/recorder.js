// What was heard, for the tests; the page knows nothing of it. All that goes to the speaker, and all that comes from
// the microphone, is recorded on the clock of the page's AudioContext, and what the server sends is timed on it.
(() => {
  /** Hands on what it hears, block by block, each with its place on the clock. */
  const PROCESSOR = `
    registerProcessor("recorder", class extends AudioWorkletProcessor {
      process([[samples]]) {
        if (samples) this.port.postMessage({ frame: currentFrame, samples: samples.slice() });
        return true;
      }
    });`;
  /** One for each AudioContext. */
  const recordings = [];
  const recordingOf = new WeakMap();

  class Recording {
    speaker = [];
    microphone = [];
    messages = [];

    constructor(context) {
      this.context = context;
      const module = URL.createObjectURL(new Blob([PROCESSOR], { type: "text/javascript" }));
      this.ready = context.audioWorklet?.addModule(module); // none in a page that is not secure
      recordings.push(this);
      recordingOf.set(context, this);
    }

    async record(node, blocks) {
      await this.ready;
      const recorder = new AudioWorkletNode(this.context, "recorder", {
        numberOfOutputs: 0,
        channelCount: 1,
        channelCountMode: "explicit",
      });
      recorder.port.onmessage = ({ data }) => blocks.push(data);
      connect.call(node, recorder);
    }
  }

  window.AudioContext = class extends AudioContext {
    constructor(...options) {
      super(...options);
      new Recording(this);
    }

    createMediaStreamSource(stream) {
      const source = super.createMediaStreamSource(stream);
      const recording = recordingOf.get(this);
      recording.stream = stream;
      recording.record(source, recording.microphone);
      return source;
    }
  };

  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    const recording = to instanceof AudioDestinationNode && recordingOf.get(this.context);
    if (recording) recording.record(this, recording.speaker);
    return connect.call(this, to, ...rest);
  };

  window.WebSocket = class extends WebSocket {
    constructor(...options) {
      super(...options);
      this.addEventListener("message", ({ data }) => {
        const recording = recordings.at(-1);
        if (typeof data === "string" && recording) {
          const { currentTime } = recording.context;
          recording.messages.push([currentTime, performance.now() / 1000 - currentTime, data]);
        }
      });
    }
  };

  /** Of a track: 16 bit samples from the clock's zero on, in base64. */
  function whole(blocks) {
    const last = blocks.at(-1);
    const pcm = new Int16Array(last ? last.frame + last.samples.length : 0);
    for (const { frame, samples } of blocks) {
      for (let n = 0; n < samples.length; n++) {
        pcm[frame + n] = Math.max(-1, Math.min(1, samples[n])) * 32767;
      }
    }
    const bytes = new Uint8Array(pcm.buffer);
    const pieces = [];
    for (let n = 0; n < bytes.length; n += 8192) pieces.push(String.fromCharCode(...bytes.subarray(n, n + 8192)));
    return btoa(pieces.join(""));
  }

  window.recordings = recordings;
  window.heard = (n = -1) => {
    const { context, speaker, microphone } = recordings.at(n);
    return { rate: context.sampleRate, speaker: whole(speaker), microphone: whole(microphone) };
  };
})();
