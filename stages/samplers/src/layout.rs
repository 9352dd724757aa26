//! Named parameters in one flat vector: where each tensor lies, what shape it has, how it starts.

use crate::{linear::Linear, norm::LayerNorm, swiglu::SwiGlu};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Uniform in ±bound.
    Uniform {
        bound: f64,
    },
    Constant(f64),
    /// The two elements of a pair.
    Values([f64; 2]),
}

/// One named tensor of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// As in the reference implementation's state dictionary.
    pub name: String,
    pub shape: Vec<usize>,
    /// Position of its first element in the flat vector; elements follow in row-major order.
    pub offset: usize,
    pub init: Init,
}

impl Tensor {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All tensors of a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Layout {
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Number of parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a tensor and returns its offset.
    pub(crate) fn tensor(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> usize {
        let offset = self.len;
        self.tensors.push(Tensor { name: name.into(), shape: shape.to_vec(), offset, init });
        self.len += shape.iter().product::<usize>();
        offset
    }

    /// A linear layer with PyTorch's default initialisation: weight and bias uniform in ±1/√fan_in.
    pub(crate) fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        let init = Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
        let weight = self.tensor(format!("{name}.weight"), &[outputs, inputs], init);
        let bias = self.tensor(format!("{name}.bias"), &[outputs], init);
        Linear { inputs, context: 0, outputs, weight, bias }
    }

    /// A SwiGLU network whose last `context` inputs are the same for all columns. Gate and up projection lie side by side,
    /// so that they are one matrix product.
    pub(crate) fn swiglu(
        &mut self,
        name: &str,
        inputs: usize,
        context: usize,
        hidden: usize,
        outputs: usize,
    ) -> SwiGlu {
        let all = inputs + context;
        let width = 2 * hidden / 3;
        let init = Init::Uniform { bound: 1.0 / (all as f64).sqrt() };
        let weight = self.tensor(format!("{name}.gate_proj.weight"), &[width, all], init);
        self.tensor(format!("{name}.up_proj.weight"), &[width, all], init);
        let bias = self.tensor(format!("{name}.gate_proj.bias"), &[width], init);
        self.tensor(format!("{name}.up_proj.bias"), &[width], init);
        let gate_up = Linear { inputs, context, outputs: 2 * width, weight, bias };
        SwiGlu { gate_up, down: self.linear(&format!("{name}.down_proj"), width, outputs) }
    }

    pub(crate) fn layer_norm(&mut self, name: &str, width: usize) -> LayerNorm {
        let weight = self.tensor(format!("{name}.weight"), &[width], Init::Constant(1.0));
        let bias = self.tensor(format!("{name}.bias"), &[width], Init::Constant(0.0));
        LayerNorm { width, weight, bias }
    }
}
