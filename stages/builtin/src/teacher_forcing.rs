//! Replaying a generation on the exact token ids that were generated: raw logits and what a pipeline of heuristics makes of them.

use lsn_heuristics::{History, Pipeline, RowError, Scratch};
use lsn_lm::LanguageModel;

/// A generation to replay, and the pipeline that its targets come from.
pub struct Replay<'a> {
    pub model: &'a LanguageModel,
    pub pipeline: &'a Pipeline,
    /// Whether the generation was drawn with this pipeline. One that it was not drawn with may leave a drawn token no probability;
    /// its state is then told nothing.
    pub drew: bool,
    /// Seed of the pipeline's own draws.
    pub state_seed: u64,
    pub prompt: &'a [u32],
    pub generated: &'a [u32],
}

impl Replay<'_> {
    /// Calls `visit(position, raw, target)`, logits `[V]` each, at the positions of the generation that are `wanted`, in order. The
    /// logits of position t are those that predicted token t.
    ///
    /// # Errors
    /// What the model, the pipeline or `visit` says.
    pub fn positions(
        &self,
        wanted: impl Fn(usize) -> bool,
        mut visit: impl FnMut(usize, &[f32], &[f32]) -> Result<(), String>,
    ) -> Result<(), String> {
        let Self { model, pipeline, prompt, generated, .. } = *self;
        let logits = model.continuation_logits(prompt, generated).map_err(|error| error.to_string())?;
        let (mut state, mut scratch) = (pipeline.start(self.state_seed), Scratch::default());
        let mut tokens = prompt.to_vec();
        let mut target = Vec::new();
        let rows = logits.chunks_exact(model.config().vocab_size).zip(generated);
        for (position, (raw, &next)) in rows.enumerate() {
            let wanted = wanted(position);
            // A pipeline with a state has to see every position.
            if wanted || pipeline.is_stateful() {
                target.clear();
                target.extend_from_slice(raw);
                let history = History { tokens: &tokens, prompt_len: prompt.len() };
                pipeline
                    .process(&mut target, history, &mut state, &mut scratch)
                    .and_then(|()| match pipeline.accept(next, &target, &mut state) {
                        Err(RowError::NotDrawn { .. }) if !self.drew => Ok(()),
                        accepted => accepted,
                    })
                    .map_err(|error| error.to_string())?;
                if wanted {
                    visit(position, raw, &target)?;
                }
            }
            tokens.push(next);
        }
        Ok(())
    }
}
