//! A network's sizes and where its parameters lie, as constants of the CUDA source.

use super::CudaError;
use crate::{Architecture, Layout, Sampler, Statistic};
use std::fmt::Write;

/// Static shared memory of a block.
const SHARED_BYTES: usize = 48 << 10;

/// Offsets of a SwiGLU network in the natural parameters: gate and up lie side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct SwiGlu {
    pub gate_up: usize,
    pub gate_up_bias: usize,
    pub down: usize,
    pub down_bias: usize,
    pub hidden: usize,
    pub outputs: usize,
}

/// Offsets of a linear layer or a norm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub weight: usize,
    pub bias: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub qkv: Linear,
    pub out: Linear,
    pub norm1: Linear,
    pub norm2: Linear,
    pub ffn: SwiGlu,
}

/// What one network has and the others have not.
#[derive(Debug)]
pub(super) enum Body {
    Local { gate: Linear },
    Aware { local: Linear, gate: Linear, dynamic: bool },
    Attention { heads: usize, encoder: SwiGlu, blocks: Vec<Block>, gate: SwiGlu, scaling: Option<SwiGlu> },
}

/// A network.
#[derive(Debug)]
pub(super) struct Shape {
    /// Features of a column, and context values of a row.
    pub features: usize,
    pub context: usize,
    pub head: SwiGlu,
    pub body: Body,
    /// Threads, and columns, of a block of the kernels in which a thread has a column to itself.
    pub threads: usize,
    /// Columns of a block of the kernels of attention.
    pub width: usize,
    /// Where each packed parameter comes from in the natural ones; −1 is padding.
    pub packing: Vec<i32>,
    /// Definitions that the kernels are compiled with.
    pub prelude: String,
}

/// Looks up tensors by name.
struct Names<'a>(&'a Layout);

impl Names<'_> {
    fn tensor(&self, name: &str) -> Result<&crate::Tensor, CudaError> {
        let missing = || CudaError::Unsupported(format!("a network without the tensor `{name}`"));
        self.0.tensors().iter().find(|tensor| tensor.name == name).ok_or_else(missing)
    }

    fn linear(&self, name: &str) -> Result<Linear, CudaError> {
        let offset = |part: &str| Ok::<_, CudaError>(self.tensor(&format!("{name}.{part}"))?.offset);
        Ok(Linear { weight: offset("weight")?, bias: offset("bias")? })
    }

    fn swiglu(&self, name: &str) -> Result<SwiGlu, CudaError> {
        let part = |part: &str| self.tensor(&format!("{name}.{part}"));
        let (gate, up) = (part("gate_proj.weight")?, part("up_proj.weight")?);
        let (gate_bias, up_bias) = (part("gate_proj.bias")?, part("up_proj.bias")?);
        let (down, down_bias) = (part("down_proj.weight")?, part("down_proj.bias")?);
        if up.offset != gate.offset + gate.len() || up_bias.offset != gate_bias.offset + gate_bias.len() {
            return Err(CudaError::Unsupported(format!("`{name}`, whose gate and up projection are apart,")));
        }
        Ok(SwiGlu {
            gate_up: gate.offset,
            gate_up_bias: gate_bias.offset,
            down: down.offset,
            down_bias: down_bias.offset,
            hidden: gate_bias.len(),
            outputs: down_bias.len(),
        })
    }
}

/// Lays out packed parameters.
#[derive(Default)]
struct Packing {
    map: Vec<i32>,
}

impl Packing {
    /// A matrix whose element (r, c) is at `from + r · steps.0 + c · steps.1`, its rows padded to multiples of 4; gives its place.
    fn matrix(&mut self, from: usize, (rows, columns): (usize, usize), steps: (usize, usize)) -> usize {
        let pitch = columns.next_multiple_of(4);
        self.map.resize(self.map.len().next_multiple_of(4), -1);
        let place = self.map.len();
        self.map.resize(place + rows * pitch, -1);
        for row in 0..rows {
            for column in 0..columns {
                self.map[place + row * pitch + column] = (from + row * steps.0 + column * steps.1) as i32;
            }
        }
        place
    }

    /// A matrix of `inputs` rows whose columns are gate 0, up 0, gate 1, up 1 and so on, each read along its inputs; all gates
    /// come before all ups.
    fn alternating(&mut self, from: usize, inputs: usize, hidden: usize) -> usize {
        let place = self.matrix(from, (inputs, 2 * hidden), (0, 0));
        let pitch = (2 * hidden).next_multiple_of(4);
        for input in 0..inputs {
            for unit in 0..hidden {
                for part in 0..2 {
                    let element = from + (part * hidden + unit) * inputs + input;
                    self.map[place + input * pitch + 2 * unit + part] = element as i32;
                }
            }
        }
        place
    }

    fn vector(&mut self, from: usize, len: usize) -> usize {
        let place = self.map.len();
        self.map.extend((from..from + len).map(|at| at as i32));
        place
    }
}

/// What [`pack_block`] places: matrices by input and output, `_BACK` those of the backward pass, then biases and norms.
const BLOCK_PLACES: [&str; 18] = [
    "B_QUERY",
    "B_KEY",
    "B_VALUE",
    "B_QUERY_BACK",
    "B_KEY_BACK",
    "B_VALUE_BACK",
    "B_OUT",
    "B_OUT_BACK",
    "B_GATE_UP",
    "B_GATE_BACK",
    "B_UP_BACK",
    "B_DOWN",
    "B_DOWN_BACK",
    "B_QKV_BIAS",
    "B_OUT_BIAS",
    "B_DOWN_BIAS",
    "B_NORM1",
    "B_NORM2",
];

/// Places of one block's packed parameters by [`BLOCK_PLACES`], and of its gate and up biases, from the block's first one on.
fn pack_block(packing: &mut Packing, block: &Block, d: usize) -> ([usize; 18], usize) {
    packing.map.resize(packing.map.len().next_multiple_of(4), -1);
    let start = packing.map.len();
    let f = block.ffn.hidden;
    let qkv = |part: usize| block.qkv.weight + part * d * d;
    let (forward, backward) = ((1, d), (d, 1));
    let mut norm = |of: &Linear| {
        let place = packing.vector(of.weight, d);
        packing.vector(of.bias, d);
        place
    };
    let norms = [norm(&block.norm1), norm(&block.norm2)];
    let gate_up_bias = packing.alternating(block.ffn.gate_up_bias, 1, f);
    let places = [
        packing.matrix(qkv(0), (d, d), forward),
        packing.matrix(qkv(1), (d, d), forward),
        packing.matrix(qkv(2), (d, d), forward),
        packing.matrix(qkv(0), (d, d), backward),
        packing.matrix(qkv(1), (d, d), backward),
        packing.matrix(qkv(2), (d, d), backward),
        packing.matrix(block.out.weight, (d, d), forward),
        packing.matrix(block.out.weight, (d, d), backward),
        packing.alternating(block.ffn.gate_up, d, f),
        packing.matrix(block.ffn.gate_up, (f, d), backward),
        packing.matrix(block.ffn.gate_up + f * d, (f, d), backward),
        packing.matrix(block.ffn.down, (f, d), (1, f)),
        packing.matrix(block.ffn.down, (d, f), (f, 1)),
        packing.vector(block.qkv.bias, 3 * d),
        packing.vector(block.out.bias, d),
        packing.vector(block.ffn.down_bias, d),
        norms[0],
        norms[1],
    ];
    (places.map(|place| place - start), gate_up_bias - start)
}

impl Shape {
    /// # Errors
    /// The network is none of the three that have kernels, or too wide for a block's shared memory.
    pub fn new(sampler: &Sampler<f32>) -> Result<Self, CudaError> {
        let names = Names(sampler.layout());
        let architecture = sampler.architecture();
        let mut prelude = String::new();
        let mut define = |name: &str, value: usize| {
            // Writing to a string cannot fail.
            let _ = writeln!(prelude, "#define {name} {value}");
        };
        let (features, context, head, body);
        if let Architecture::LocalProbabilityTransform(_) = architecture {
            (features, context, head) = (1, 0, names.swiglu("mlp")?);
            let gate = Linear {
                weight: names.tensor("truncation_scale")?.offset,
                bias: names.tensor("truncation_threshold")?.offset,
            };
            if gate.bias != gate.weight + 1 {
                return Err(CudaError::Unsupported("a truncation whose two scalars are apart".to_owned()));
            }
            define("NETWORK", 0);
            define("P_TRUNCATION", gate.weight);
            body = Body::Local { gate };
        } else if let Architecture::SimpleDistributionAwareTransform(config) = architecture {
            (features, context) = (config.hidden_dims, config.statistics.len());
            head = names.swiglu("global_mlp")?;
            let local = names.linear("local_mlp.0")?;
            let gate = if config.use_dynamic_truncation {
                names.linear("truncation_head")?
            } else {
                let both = names.tensor("truncation_params")?.offset;
                Linear { weight: both, bias: both }
            };
            define("NETWORK", 1);
            define("P_LOCAL", local.weight);
            define("P_LOCAL_BIAS", local.bias);
            define("DYNAMIC_TRUNCATION", usize::from(config.use_dynamic_truncation));
            define("P_TRUNCATION", gate.weight);
            define("P_TRUNCATION_BIAS", gate.bias);
            body = Body::Aware { local, gate, dynamic: config.use_dynamic_truncation };
        } else if let Architecture::SamplingNetwork(config) = architecture {
            (features, context) = (config.d_model, config.d_model);
            head = names.swiglu("transformation_head")?;
            let blocks = (0..config.n_blocks)
                .map(|index| {
                    let name = |part: &str| format!("blocks.{index}.{part}");
                    Ok(Block {
                        qkv: names.linear(&name("qkv_proj"))?,
                        out: names.linear(&name("attention.o_proj"))?,
                        norm1: names.linear(&name("norm1"))?,
                        norm2: names.linear(&name("norm2"))?,
                        ffn: names.swiglu(&name("ffn"))?,
                    })
                })
                .collect::<Result<Vec<_>, CudaError>>()?;
            let gate = names.swiglu("truncation_head")?;
            let scaling = config.scale.then(|| names.swiglu("scaling_head")).transpose()?;
            define("NETWORK", 2);
            define("HEADS", config.n_heads);
            define("HEAD_DIM", config.d_model / config.n_heads);
            define("BLOCKS", config.n_blocks);
            define("TRUNCATION_HIDDEN", gate.hidden);
            define("SCALED", usize::from(config.scale));
            for (prefix, swiglu) in [("P_TRUNCATION", Some(&gate)), ("P_SCALING", scaling.as_ref())] {
                let Some(swiglu) = swiglu else { continue };
                define(prefix, swiglu.gate_up);
                define(&format!("{prefix}_BIAS"), swiglu.gate_up_bias);
                define(&format!("{prefix}_DOWN"), swiglu.down);
                define(&format!("{prefix}_DOWN_BIAS"), swiglu.down_bias);
            }
            let encoder = names.swiglu("encoder.mlp")?;
            body = Body::Attention { heads: config.n_heads, encoder, blocks, gate, scaling };
        } else {
            return Err(CudaError::Unsupported(format!("a {}", architecture.name())));
        }

        let mut packing = Packing::default();
        let width = features + context;
        define("W_HEAD_GATE_UP", packing.matrix(head.gate_up, (2 * head.hidden, features), (width, 1)));
        define("W_HEAD_DOWN", packing.vector(head.down, head.hidden));
        define("W_HEAD_DOWN_BIAS", packing.vector(head.down_bias, 1));
        if let Body::Attention { encoder, blocks, .. } = &body {
            let e = encoder.hidden;
            define("ENCODER_HIDDEN", e);
            define("W_ENCODER_DOWN", packing.matrix(encoder.down, (e, features), (1, e)));
            define("W_ENCODER_DOWN_BACK", packing.matrix(encoder.down, (features, e), (e, 1)));
            define("W_ENCODER_GATE_UP", packing.vector(encoder.gate_up, 2 * e));
            define("W_ENCODER_GATE_UP_BIAS", packing.vector(encoder.gate_up_bias, 2 * e));
            define("W_ENCODER_DOWN_BIAS", packing.vector(encoder.down_bias, features));
            let mut starts = Vec::new();
            if blocks.is_empty() {
                // The kernels of blocks still compile.
                BLOCK_PLACES.iter().for_each(|name| define(name, 0));
                define("B_GATE_UP_BIAS", 0);
            }
            for (index, block) in blocks.iter().enumerate() {
                packing.map.resize(packing.map.len().next_multiple_of(4), -1);
                starts.push(packing.map.len());
                let (places, gate_up_bias) = pack_block(&mut packing, block, features);
                if index == 0 {
                    BLOCK_PLACES.iter().zip(places).for_each(|(name, place)| define(name, place));
                    define("B_GATE_UP_BIAS", gate_up_bias);
                }
            }
            packing.map.resize(packing.map.len().next_multiple_of(4), -1);
            define("W_BLOCKS", starts.first().copied().unwrap_or(0));
            define("BLOCK_SIZE", (packing.map.len() - starts.first().copied().unwrap_or(0)) / starts.len().max(1));
            define("FFN_HIDDEN", blocks.first().map_or(0, |block| block.ffn.hidden));
        }
        define("D", features);
        define("DP", features.next_multiple_of(4));
        define("C", context);
        define("HIDDEN", head.hidden);
        define("P_HEAD_GATE_UP", head.gate_up);
        define("P_HEAD_GATE_UP_BIAS", head.gate_up_bias);
        let too_wide = || CudaError::Unsupported(format!("a {} of {features} features", architecture.name()));
        let threads = columns_that_fit(3 + 2 * head.hidden).ok_or_else(too_wide)?;
        define("THREADS", threads);
        let mut width = threads;
        if let Body::Attention { heads, encoder, blocks, .. } = &body {
            let room = blocks.first().map_or(0, |block| block.ffn.hidden).max(features);
            let rows = (4 * features + room + heads).max(2 * features + encoder.hidden.max(features));
            width = columns_that_fit(rows).ok_or_else(too_wide)?;
            define("PER_LANE", width / 32);
        }
        if let Architecture::SimpleDistributionAwareTransform(config) = architecture {
            let codes: Vec<&str> = config
                .statistics
                .iter()
                .map(|statistic| if *statistic == Statistic::MaxLogProb { "0" } else { "1" })
                .collect();
            let _ = writeln!(prelude, "#define STATISTICS {{{}}}", codes.join(", "));
        }
        Ok(Self { features, context, head, body, threads, width, packing: packing.map, prelude })
    }

    /// What divides the columns of a row.
    pub fn multiple(&self) -> usize {
        self.threads.max(self.width)
    }

    /// Values of a row's attention context.
    pub fn context_values(&self) -> usize {
        match &self.body {
            Body::Attention { heads, .. } => self.features * self.features / heads + self.features,
            _ => 0,
        }
    }

    /// Sums of a row that the head's backward pass needs.
    pub fn row_sums(&self) -> usize {
        3 + 2 * self.head.hidden
    }
}

/// The most columns of a block whose matrix of `rows` in shared memory fits, each row one longer than that.
fn columns_that_fit(rows: usize) -> Option<usize> {
    [64, 32].into_iter().find(|columns| rows * (columns + 1) * 4 <= SHARED_BYTES)
}
