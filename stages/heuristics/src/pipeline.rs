//! A pipeline: processors applied from left to right, and one row's state of those that have one.

use crate::{
    ConfigError, Context, Params, Processor, Row, RowError, RowState, Scratch, StatefulProcessor,
    config::ProcessorConfig,
    distribution::{Distribution, checked_max},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One processor of a pipeline.
#[derive(Debug)]
pub enum Step {
    Stateless(Box<dyn Processor>),
    Stateful(Box<dyn StatefulProcessor>),
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Stateless(processor) => processor.name(),
            Self::Stateful(processor) => processor.name(),
        }
    }

    fn params(&self) -> Params {
        match self {
            Self::Stateless(processor) => processor.params(),
            Self::Stateful(processor) => processor.params(),
        }
    }

    fn needs(&self) -> &'static [&'static str] {
        match self {
            Self::Stateless(processor) => processor.needs(),
            Self::Stateful(processor) => processor.needs(),
        }
    }
}

/// Processors applied from left to right; immutable and shared between rows and threads.
#[derive(Debug, Default)]
pub struct Pipeline {
    steps: Vec<Step>,
}

/// One row's states of the stateful steps of a pipeline, in order.
#[derive(Debug)]
pub struct PipelineState(Vec<Box<dyn RowState>>);

impl Pipeline {
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The one form that equal pipelines share, for keys: `[{"name", "params"}]` with numbers normalised and parameters
    /// that equal their default left out.
    #[must_use]
    pub fn canonical(&self) -> Value {
        self.steps.iter().map(|step| json!({"name": step.name(), "params": step.params()})).collect()
    }

    /// The configuration that builds this pipeline again, in canonical form.
    #[must_use]
    pub fn config(&self) -> Vec<ProcessorConfig> {
        self.steps.iter().map(|step| ProcessorConfig { name: step.name().to_owned(), params: step.params() }).collect()
    }

    /// Names of the further logits that [`Context`] must carry, without repetition: a caller that has none can refuse
    /// early.
    #[must_use]
    pub fn needs(&self) -> Vec<&'static str> {
        let all = self.steps.iter().flat_map(|step| step.needs().iter().copied());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The state of a row before its first position. All randomness comes from `row_seed`; steps do not share it.
    #[must_use]
    pub fn start(&self, row_seed: u64) -> PipelineState {
        let seeded = self.stateful().enumerate();
        PipelineState(seeded.map(|(index, processor)| processor.start(seed_of_step(row_seed, index))).collect())
    }

    /// The state that [`PipelineState::save`] described.
    ///
    /// # Errors
    /// `saved` does not describe a state of this pipeline.
    pub fn restore(&self, saved: &[Value]) -> Result<PipelineState, ConfigError> {
        let states: Vec<_> =
            self.stateful().zip(saved).map(|(processor, saved)| processor.restore(saved)).collect::<Result<_, _>>()?;
        let expected = self.stateful().count();
        if states.len() != expected || saved.len() != expected {
            let message = format!("{} states for {expected} stateful processors", saved.len());
            return Err(ConfigError::State { processor: "pipeline", message });
        }
        Ok(PipelineState(states))
    }

    /// Whether the output at a position depends on what was drawn before it by more than the history.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        self.stateful().next().is_some()
    }

    fn stateful(&self) -> impl Iterator<Item = &dyn StatefulProcessor> {
        self.steps.iter().filter_map(|step| match step {
            Step::Stateless(_) => None,
            Step::Stateful(processor) => Some(&**processor),
        })
    }

    /// Rewrites one row of raw logits `[V]` into the logits to draw from. `context` is a [`Context`], or a
    /// [`History`](crate::History) where no step needs further logits.
    ///
    /// # Errors
    /// The row holds NaN, +inf or no finite logit, or one step left such a row to the next; further logits are missing
    /// or do not fit. The row's content is then undefined.
    pub fn process<'a>(
        &self,
        logits: &mut [f32],
        context: impl Into<Context<'a>>,
        state: &mut PipelineState,
        scratch: &mut Scratch,
    ) -> Result<(), RowError> {
        if self.steps.is_empty() {
            return checked_max(logits).map(drop);
        }
        let context = context.into();
        let mut row = Row::new(logits, scratch);
        let mut states = state.0.iter_mut();
        for step in &self.steps {
            match step {
                Step::Stateless(processor) => processor.process(&mut row, &context)?,
                Step::Stateful(_) => {
                    if let Some(state) = states.next() {
                        state.process(&mut row, &context)?;
                    }
                }
            }
        }
        row.finish()
    }

    /// Tells the stateful steps which token was drawn from `logits`, the output of [`Pipeline::process`].
    ///
    /// # Errors
    /// `logits` is not such an output, or gives the token no probability.
    pub fn accept(&self, token: u32, logits: &[f32], state: &mut PipelineState) -> Result<(), RowError> {
        if state.0.is_empty() {
            return Ok(());
        }
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let probability = Distribution::of(logits)?.probability(logit);
        if probability == 0.0 {
            return Err(RowError::NotDrawn { token });
        }
        state.0.iter_mut().for_each(|state| state.accept(token, probability));
        Ok(())
    }
}

/// A seed of its own for each stateful step: the finaliser of SplitMix64 (Steele et al. 2014).
fn seed_of_step(row_seed: u64, index: usize) -> u64 {
    let mut z = row_seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl PipelineState {
    /// Everything that a replay from here needs: one value per stateful step.
    #[must_use]
    pub fn save(&self) -> Vec<Value> {
        self.0.iter().map(|state| state.save()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::History;

    /// Subtracts from every logit what was drawn so far: small, but it needs every part of the stateful interface.
    #[derive(Debug)]
    struct Drift;

    #[derive(Debug)]
    struct DriftState(f64);

    impl StatefulProcessor for Drift {
        fn name(&self) -> &'static str {
            "drift"
        }
        fn params(&self) -> Params {
            Params::new()
        }
        fn start(&self, row_seed: u64) -> Box<dyn RowState> {
            Box::new(DriftState((row_seed % 8) as f64))
        }
        fn restore(&self, saved: &Value) -> Result<Box<dyn RowState>, ConfigError> {
            let value = saved
                .as_f64()
                .ok_or(ConfigError::State { processor: "drift", message: format!("{saved} is not a number") })?;
            Ok(Box::new(DriftState(value)))
        }
    }

    impl RowState for DriftState {
        fn process(&mut self, row: &mut Row<'_>, _: &Context<'_>) -> Result<(), RowError> {
            row.update(0, |logit| logit - self.0 as f32);
            Ok(())
        }
        fn accept(&mut self, token: u32, probability: f64) {
            self.0 += f64::from(token) * probability;
        }
        fn save(&self) -> Value {
            self.0.into()
        }
    }

    fn run(pipeline: &Pipeline, state: &mut PipelineState, steps: usize) -> Vec<f32> {
        let mut scratch = Scratch::default();
        let mut out = Vec::new();
        for _ in 0..steps {
            let mut logits = [1.0, 0.5];
            pipeline.process(&mut logits, History::default(), state, &mut scratch).unwrap();
            pipeline.accept(1, &logits, state).unwrap();
            out.push(logits[0]);
        }
        out
    }

    #[test]
    fn a_saved_row_goes_on_as_if_it_had_not_stopped() {
        let pipeline = Pipeline::new(vec![Step::Stateful(Box::new(Drift))]);
        let whole = run(&pipeline, &mut pipeline.start(3), 6);
        let mut first = pipeline.start(3);
        let mut split = run(&pipeline, &mut first, 2);
        let mut second = pipeline.restore(&first.save()).unwrap();
        split.extend(run(&pipeline, &mut second, 4));
        assert_eq!(whole, split);
        assert!(whole.windows(2).all(|pair| pair[1] < pair[0]));
        assert!(pipeline.restore(&[]).is_err());
    }

    #[test]
    fn rows_without_candidates_or_with_nan_are_errors() {
        let pipeline = Pipeline::default();
        let check = |mut row: Vec<f32>| {
            pipeline.process(&mut row, History::default(), &mut pipeline.start(0), &mut Scratch::default())
        };
        assert_eq!(check(vec![f32::NEG_INFINITY; 3]), Err(RowError::NoCandidate));
        assert_eq!(check(vec![]), Err(RowError::NoCandidate));
        assert!(matches!(check(vec![0.0, f32::NAN]), Err(RowError::NotANumber { token: 1, .. })));
        assert!(matches!(check(vec![f32::INFINITY]), Err(RowError::NotANumber { token: 0, .. })));
        assert_eq!(check(vec![f32::NEG_INFINITY, 0.0]), Ok(()));
    }
}
