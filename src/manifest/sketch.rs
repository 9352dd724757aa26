//! What can be told of a stage that is wrong somewhere, so that its references and those to it are checked all the same.

use super::{
    expand::{COMMAND, Expanded, Expander, Typed},
    expression::Instance,
    problem::Findings,
    scope::Coordinates,
    settings::{Settings, environment, settings_of},
    tree::{Entry, Kind, Node},
    wanted::{self, Wanted},
};
use lsn_stage::{Port, PortKind, StageType};
use std::sync::Arc;

/// What is known of a stage that is wrong somewhere.
#[derive(Default)]
pub struct Sketch {
    /// `None`: not known, or any input is taken.
    pub inputs: Option<Vec<Port>>,
    /// `None`: not known.
    pub outputs: Option<Vec<Port>>,
    /// `None`: not known.
    pub instances: Option<Vec<Arc<Coordinates>>>,
    pub wanted: Vec<Wanted>,
}

/// A stage that is wrong somewhere.
pub struct Wrong<'w> {
    pub stage: &'w Expanded,
    pub stage_type: Option<&'w dyn StageType>,
    /// As far as it could be worked out without the matrix.
    pub node: &'w Node,
    /// The same; where the matrix is wrong, without templates.
    pub plain: &'w Node,
    /// Whether it has the form of a stage.
    pub shape_is_right: bool,
}

impl Expander<'_> {
    /// Reports what else is wrong with a stage, and gives what can be told of it; its instances are for the caller to say.
    pub fn sketch(&mut self, wrong: &Wrong<'_>, first: &Coordinates, findings: &mut Findings) -> Sketch {
        let Wrong { stage, stage_type, node, plain, shape_is_right } = *wrong;
        let scope = self.with_scope.clone();
        let instance = Instance::new(&scope, first);
        if shape_is_right {
            let settings = Node::new(plain.span, Kind::Map(settings_of(plain)));
            findings.extend(Settings::read(&settings, &instance).err().into_iter().flat_map(Findings::into_findings));
            let env = plain.get("env").map(|env| environment(env, &instance));
            findings.extend(env.and_then(Result::err).into_iter().flat_map(Findings::into_findings));
        }
        let mut sketch = Sketch::default();
        if let Some(stage_type) = stage_type {
            (sketch.inputs, sketch.outputs) = self.ports(stage_type, plain.get("with"), &instance, stage, findings);
            if !shape_is_right {
                // An input that seems to be missing may stand under a misspelt key.
                sketch.inputs = sketch.inputs.map(|ports| ports.into_iter().map(Port::optional).collect());
            }
        }
        if let (Some(written), Some(plain)) = (node.get("inputs"), plain.get("inputs")) {
            match instance.fill(plain) {
                Ok(filled) => {
                    let mut unread = Findings::default();
                    sketch.wanted = wanted::read(&filled, written, &mut unread);
                    // What has the wrong shape was reported with the structure.
                    let mut new = unread.into_findings();
                    new.retain(|finding| !findings.is_known(finding.span));
                    findings.extend(new);
                }
                Err(finding) => findings.push(finding),
            }
        }
        sketch
    }

    /// Reports what is wrong with the parameters of a stage that is wrong somewhere, and gives its input and output ports as
    /// far as the parameters that are right tell them.
    fn ports(
        &mut self,
        stage_type: &dyn StageType,
        with: Option<&Node>,
        instance: &Instance<'_>,
        stage: &Expanded,
        findings: &mut Findings,
    ) -> (Option<Vec<Port>>, Option<Vec<Port>>) {
        let mut problems = Findings::default();
        let typed = self.typed(stage_type, with, instance, stage, &mut problems);
        // A misspelt `with` was reported; what it does not say is no second mistake.
        if with.is_some_and(|with| !with.entries().is_empty()) {
            findings.extend(problems.into_findings());
        }
        if let Some(typed) = typed {
            return (typed.inputs, Some(typed.outputs.to_vec()));
        }
        if stage_type.name() == COMMAND {
            let declared = with.and_then(|with| with.get("outputs")).filter(|node| matches!(node.kind, Kind::Map(_)));
            let port = |entry: &Entry| Port::new(&entry.key, PortKind::Any, "");
            return (None, declared.map(|outputs| outputs.entries().iter().map(port).collect()));
        }
        let Some(with) = with else { return (None, None) };
        let mut right = Vec::new();
        for entry in with.entries() {
            let alone = Node::new(with.span, Kind::Map(vec![entry.clone()]));
            if self.typed(stage_type, Some(&alone), instance, stage, &mut Findings::default()).is_some() {
                right.push(entry.clone());
            }
        }
        let right = Node::new(with.span, Kind::Map(right));
        match self.typed(stage_type, Some(&right), instance, stage, &mut Findings::default()) {
            // A parameter that is wrong may be the one that makes an input needless.
            Some(Typed { inputs, outputs, .. }) => {
                (inputs.map(|ports| ports.into_iter().map(Port::optional).collect()), Some(outputs.to_vec()))
            }
            None => (None, None),
        }
    }
}
