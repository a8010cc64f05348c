// A plain server for one ImageNet model: Express, Sharp, onnxruntime-node, each with its defaults.
//
//     node server.js MODEL.onnx      prints "Serving on http://127.0.0.1:PORT"
//
// It takes what `POST /api/inference/execute` of workbench takes (a data URI or base64 as JSON),
// resizes the shorter side to 256, crops 224, normalises, runs the model and answers the top five.
const express = require("express");
const ort = require("onnxruntime-node");
const sharp = require("sharp");

const SIDE = 224, SHORTER = 256;
const MEAN = [0.485, 0.456, 0.406], STD = [0.229, 0.224, 0.225];

async function tensorOf(file) {
  const image = sharp(file).rotate();
  const resized = image.resize(SHORTER, SHORTER, { fit: "outside" }).removeAlpha().toColourspace("srgb");
  const { data, info } = await resized.raw().toBuffer({ resolveWithObject: true });
  const left = (info.width - SIDE) >> 1, top = (info.height - SIDE) >> 1;
  const planes = new Float32Array(3 * SIDE * SIDE);
  for (let y = 0, at = 0; y < SIDE; y++) {
    let from = ((top + y) * info.width + left) * info.channels;
    for (let x = 0; x < SIDE; x++, at++, from += info.channels) {
      for (let c = 0; c < 3; c++) {
        planes[c * SIDE * SIDE + at] = (data[from + c] / 255 - MEAN[c]) / STD[c];
      }
    }
  }
  return new ort.Tensor("float32", planes, [1, 3, SIDE, SIDE]);
}

function best(scores, k) {
  let most = -Infinity;
  for (const score of scores) most = Math.max(most, score);
  const shares = Float32Array.from(scores, (score) => Math.exp(score - most));
  const sum = shares.reduce((total, share) => total + share, 0);
  return [...shares.keys()]
    .sort((a, b) => shares[b] - shares[a])
    .slice(0, k)
    .map((index) => ({ index, label: `class ${index}`, probability: shares[index] / sum }));
}

async function main() {
  const session = await ort.InferenceSession.create(process.argv[2]);
  const app = express();
  app.use(express.json({ limit: "20mb" }));
  app.post("/api/inference/execute", async (request, response) => {
    const begun = performance.now();
    const { model_id, input, options } = request.body;
    const text = input.data.startsWith("data:") ? input.data.slice(input.data.indexOf(",") + 1) : input.data;
    const tensor = await tensorOf(Buffer.from(text, "base64"));
    const prepared = performance.now();
    const answers = await session.run({ [session.inputNames[0]]: tensor });
    const ran = performance.now();
    const predictions = best(answers[session.outputNames[0]].data, options?.top_k ?? 5);
    const total = performance.now() - begun;
    const timings_ms = { preprocess: prepared - begun, inference: ran - prepared, total };
    response.json({ success: true, model_id, predictions, timings_ms });
  });
  const listening = app.listen(0, "127.0.0.1", () => {
    console.log(`Serving on http://127.0.0.1:${listening.address().port}`);
  });
}

main();
