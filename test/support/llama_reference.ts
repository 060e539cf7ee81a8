// The Llama model (and Qwen3: RMS norm on query and key heads; Mixtral and our own layouts: routed layers, capped logits) written a
// second time, from its definition, with nothing of the library: it reads a saved folder with a parser of its own and computes in float64, a token at a time.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Reference {
  readonly vocabSize: number;
  /** Logits after every token of a window, (T)(V). */
  logits(ids: ArrayLike<number>): Float64Array[];
  /** -log p of each token after the first, given those before it in the window, (T - 1). */
  losses(ids: ArrayLike<number>): number[];
}

export function loadReference(folder: string): Reference {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const file = readFileSync(join(folder, 'model.safetensors'));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerLength).toString());
  const tensor = (name: string): Float64Array => {
    const [begin, end] = header[name].data_offsets as [number, number];
    const out = new Float64Array((end - begin) / 4);
    for (let i = 0; i < out.length; i++) out[i] = file.readFloatLE(8 + headerLength + begin + 4 * i);
    return out;
  };
  const C: number = config.hidden_size;
  const H: number = config.num_attention_heads;
  const G: number = config.num_key_value_heads;
  const D: number = config.head_dim;
  const V: number = config.vocab_size;
  const eps: number = config.rms_norm_eps;
  const theta: number = config.rope_theta;
  const [architecture] = config.architectures as [string];
  const own = /^Sweetspot/.test(architecture);
  const cap: number | null = own ? config.final_logit_softcapping : null;
  const qwen = architecture === 'Qwen3ForCausalLM' || (own && config.qk_norm);
  const routed = (layer: number) =>
    own ? config.routed_layers?.includes(layer) === true : architecture === 'MixtralForCausalLM';

  const times = (w: Float64Array, x: Float64Array): Float64Array => {
    const y = new Float64Array(w.length / x.length);
    for (let i = 0; i < y.length; i++) for (let j = 0; j < x.length; j++) y[i]! += w[i * x.length + j]! * x[j]!;
    return y;
  };
  const swiglu = (gate: Float64Array, up: Float64Array, down: Float64Array) => (x: Float64Array) => {
    const upper = times(up, x);
    return times(
      down,
      times(gate, x).map((value, i) => (value / (1 + Math.exp(-value))) * upper[i]!),
    );
  };
  const mixture = (w: (name: string) => Float64Array) => {
    const block = (name: string) => swiglu(w(`${name}.w1`), w(`${name}.w3`), w(`${name}.w2`));
    const experts = Array.from({ length: config.num_local_experts as number }, (_, e) => block(`experts.${e}`));
    const shared = own && config.shared_expert_intermediate_size > 0 ? block('shared_expert') : undefined;
    const router = w('gate');
    const bias = own && config.selection_bias ? w('selection_bias') : new Float64Array(experts.length);
    return (x: Float64Array): Float64Array => {
      const logits = times(router, x);
      const all = logits.reduce((sum, value) => sum + Math.exp(value), 0);
      const chosen = Array.from(logits, (value, e) => ({ e, p: Math.exp(value) / all, score: value + bias[e]! }))
        .sort((a, b) => b.score - a.score)
        .slice(0, config.num_experts_per_tok);
      const norm = own && !config.norm_topk_prob ? 1 : chosen.reduce((sum, { p }) => sum + p, 0);
      const y = shared?.(x) ?? new Float64Array(x.length);
      for (const { e, p } of chosen)
        experts[e]!(x).forEach((value, i) => {
          y[i]! += (p / norm) * value;
        });
      return y;
    };
  };

  const embedding = tensor('model.embed_tokens.weight');
  const layers = Array.from({ length: config.num_hidden_layers as number }, (_, i) => {
    const w = (name: string) => tensor(`model.layers.${i}.${name}.weight`);
    return {
      inputNorm: w('input_layernorm'),
      q: w('self_attn.q_proj'),
      k: w('self_attn.k_proj'),
      v: w('self_attn.v_proj'),
      o: w('self_attn.o_proj'),
      qNorm: qwen ? w('self_attn.q_norm') : undefined,
      kNorm: qwen ? w('self_attn.k_norm') : undefined,
      postNorm: w('post_attention_layernorm'),
      feedForward: routed(i)
        ? mixture((name) => w(`block_sparse_moe.${name}`))
        : swiglu(w('mlp.gate_proj'), w('mlp.up_proj'), w('mlp.down_proj')),
    };
  });
  const finalNorm = tensor('model.norm.weight');
  const head = config.tie_word_embeddings ? embedding : tensor('lm_head.weight');

  const norm = (x: Float64Array, w: Float64Array): Float64Array => {
    let squares = 0;
    for (const value of x) squares += value * value;
    const scale = 1 / Math.sqrt(squares / x.length + eps);
    return x.map((value, i) => value * scale * w[i]!);
  };
  const rotate = (x: Float64Array, position: number): Float64Array => {
    const half = D / 2;
    return x.map((value, j) => {
      const angle = position * theta ** ((-2 * (j % half)) / D);
      const other = j < half ? -x[j + half]! : x[j - half]!;
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  };
  const headsOf = (x: Float64Array, w: Float64Array | undefined, position: number): Float64Array[] =>
    Array.from({ length: x.length / D }, (_, h) => {
      const part = x.slice(h * D, (h + 1) * D);
      return rotate(w === undefined ? part : norm(part, w), position);
    });

  const logits = (ids: ArrayLike<number>): Float64Array[] => {
    const keys: Float64Array[][][] = layers.map(() => []);
    const values: Float64Array[][] = layers.map(() => []);
    return Array.from(ids, (id, position) => {
      let x = embedding.slice(id * C, (id + 1) * C);
      layers.forEach((layer, l) => {
        const a = norm(x, layer.inputNorm);
        const queries = headsOf(times(layer.q, a), layer.qNorm, position);
        keys[l]!.push(headsOf(times(layer.k, a), layer.kNorm, position));
        values[l]!.push(times(layer.v, a));
        const mixed = new Float64Array(H * D);
        queries.forEach((query, h) => {
          const group = Math.floor(h / (H / G));
          const scores = keys[l]!.map(
            (key) => query.reduce((sum, value, d) => sum + value * key[group]![d]!, 0) / Math.sqrt(D),
          );
          const largest = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - largest));
          const sum = weights.reduce((p, q) => p + q, 0);
          weights.forEach((weight, t) => {
            for (let d = 0; d < D; d++) mixed[h * D + d]! += (weight / sum) * values[l]![t]![group * D + d]!;
          });
        });
        const attended = times(layer.o, mixed);
        x = x.map((value, i) => value + attended[i]!);
        const b = norm(x, layer.postNorm);
        const fed = layer.feedForward(b);
        x = x.map((value, i) => value + fed[i]!);
      });
      const scores = times(head, norm(x, finalNorm));
      return cap === null ? scores : scores.map((value) => cap * Math.tanh(value / cap));
    });
  };
  const losses = (ids: ArrayLike<number>): number[] =>
    logits(Array.from(ids).slice(0, -1)).map((row, t) => {
      const largest = row.reduce((p, q) => Math.max(p, q));
      const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
      return largest + Math.log(sum) - row[ids[t + 1]!]!;
    });
  return { vocabSize: V, logits, losses };
}
