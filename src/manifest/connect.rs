//! Looks up what every task's inputs mean: references to tasks, kinds of artifacts, files.

use super::{
    Source,
    expand::{Draft, Expanded},
    matrix,
    merge::neighbour,
    paths,
    problem::{Finding, Findings, list},
    reference::{Reference, Select, value_text},
    scope::Coordinates,
    sketch::Sketch,
    source::Span,
    wanted::{Item, Wanted},
};
use crate::manifest::TaskIndex;
use lsn_stage::{Port, PortKind};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    rc::Rc,
};

/// After this many missing files, no further ones are looked for.
const MOST_MISSING: usize = 16;

/// A reference that was followed: which stage, by which input of which stage, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub input: String,
    pub output: String,
    pub span: Span,
    /// Whether it holds for every instance of both stages.
    pub whole: bool,
}

/// A reference that is to be followed.
pub struct Asked<'r> {
    /// The stage that asks; past the last one for the outputs of the manifest.
    pub at: usize,
    pub reference: &'r Reference,
    pub span: Span,
    /// What it is for.
    pub port: &'r Port,
    /// Whether the reference differs between the instances of the stage that asks.
    pub dynamic: bool,
}

/// Looks up references. Tasks are counted through all stages in the order of the manifest.
pub struct Connector<'a> {
    stages: &'a [Expanded],
    root: &'a Path,
    by_name: HashMap<&'a str, usize>,
    /// Index of each stage's first task.
    first: Vec<usize>,
    selections: HashMap<(usize, Vec<String>), Selection>,
    checked_paths: HashSet<PathBuf>,
    links: HashSet<(usize, usize, Span)>,
    pub followed: Vec<Link>,
    /// Places where a path was written that does not exist.
    pub missing: Findings,
}

type Sources = BTreeMap<String, Vec<Source>>;

/// Values along some axes of a stage → its tasks with these values.
type Selection = HashMap<Vec<String>, Vec<usize>>;

impl<'a> Connector<'a> {
    #[must_use]
    pub fn new(stages: &'a [Expanded], root: &'a Path) -> Self {
        let mut first = Vec::with_capacity(stages.len());
        let mut count = 0;
        for stage in stages {
            first.push(count);
            count += stage.drafts.len();
        }
        Self {
            stages,
            root,
            by_name: stages.iter().enumerate().map(|(at, stage)| (stage.name.as_str(), at)).collect(),
            first,
            selections: HashMap::new(),
            checked_paths: HashSet::new(),
            links: HashSet::new(),
            followed: Vec::new(),
            missing: Findings::default(),
        }
    }

    /// The stage and the draft of a task.
    #[must_use]
    pub fn draft(&self, task: usize) -> (usize, &'a Draft) {
        let stage = self.first.partition_point(|first| *first <= task) - 1;
        (stage, &self.stages[stage].drafts[task - self.first[stage]])
    }

    /// The inputs of all instances of a stage, in order.
    pub fn connect(&mut self, at: usize, findings: &mut Findings) -> Vec<Sources> {
        let stage = &self.stages[at];
        let before = findings.len();
        let mut connected: Vec<Sources> = Vec::with_capacity(stage.drafts.len());
        let mut last: Option<&Draft> = None;
        if let Some(sketch) = &stage.sketch {
            let _ = self.inputs(at, &sketch.wanted, sketch.inputs.as_deref(), findings);
        }
        for draft in &stage.drafts {
            let same = last
                .is_some_and(|last| Rc::ptr_eq(&last.inputs, &draft.inputs) && last.typed.inputs == draft.typed.inputs);
            let sources = match connected.last() {
                Some(previous) if same => previous.clone(),
                _ => self.inputs(at, &draft.inputs, draft.typed.inputs.as_deref(), findings),
            };
            last = Some(draft);
            connected.push(sources);
            if findings.len() > before {
                // Other instances would fail in the same way.
                break;
            }
        }
        connected
    }

    /// Looks up what is wanted; without `ports` any input is taken.
    fn inputs(&mut self, at: usize, all: &[Wanted], ports: Option<&[Port]>, findings: &mut Findings) -> Sources {
        let stage = &self.stages[at];
        let mut sources = Sources::new();
        for wanted in all {
            let port = match ports {
                None => Port::new(&wanted.name, PortKind::Any, "").optional().many(),
                Some(ports) => match ports.iter().find(|port| port.name == wanted.name) {
                    Some(port) => port.clone(),
                    None => {
                        let message = format!("stage type `{}` has no input `{}`", stage.uses, wanted.name);
                        let finding = Finding::new(wanted.name_span, message, "unknown input");
                        findings.push(finding.suggest(
                            &wanted.name,
                            "inputs",
                            ports.iter().map(|port| port.name.as_str()),
                        ));
                        continue;
                    }
                },
            };
            if let Some(artifacts) = self.input(at, wanted, &port, findings) {
                sources.insert(wanted.name.clone(), artifacts);
            }
        }
        for port in ports.into_iter().flatten().filter(|port| !port.optional) {
            if all.iter().all(|wanted| wanted.name != port.name) {
                let message = format!("stage `{}` has no input `{}`", stage.name, port.name);
                findings.push(
                    Finding::new(stage.name_span, message, format!("`{}` needs {}", stage.uses, kind(&port.kind)))
                        .help(format!("add `{}` under `inputs`: {}", port.name, port.about)),
                );
            }
        }
        sources
    }

    /// The artifacts of one input; `None` when there are none or they are wrong.
    fn input(&mut self, at: usize, wanted: &Wanted, port: &Port, findings: &mut Findings) -> Option<Vec<Source>> {
        let before = findings.len();
        let mut artifacts = Vec::new();
        let mut left_out = None;
        let mut sketched = false;
        for item in &wanted.items {
            match item {
                Item::Reference(reference, span) => {
                    let asked = Asked { at, reference, span: *span, port, dynamic: wanted.dynamic };
                    match self.follow(&asked, findings) {
                        Followed::Tasks(tasks) => artifacts.extend(
                            tasks
                                .into_iter()
                                .map(|task| Source::Output { task: index(task), output: reference.output.clone() }),
                        ),
                        Followed::LeftOut(stage) => left_out = Some((stage, *span)),
                        Followed::Sketched(_) => sketched = true,
                        Followed::Wrong => {}
                    }
                    if reference.select == Select::All && !port.many {
                        findings.push(self.one_only(at, port, *span, reference));
                    }
                }
                Item::Path(path, span) => {
                    self.check_path(path, *span);
                    artifacts.push(Source::Path { path: path.clone() });
                }
                Item::Glob(pattern, span) => {
                    if !port.many {
                        let message = format!("input `{}` takes one artifact, a glob may give several", port.name);
                        findings.push(Finding::new(*span, message, "expected one file or `stage.output`"));
                    }
                    artifacts.push(Source::Glob { pattern: pattern.clone() });
                }
            }
        }
        if findings.len() > before || sketched {
            return None;
        }
        if !port.many && artifacts.len() > 1 {
            let label = if wanted.list { "a list of several" } else { "selects several" };
            let message = format!("input `{}` of stage type `{}` takes one artifact", port.name, self.stages[at].uses);
            findings.push(Finding::new(wanted.span, message, format!("{label}: {}", artifacts.len())));
            return None;
        }
        if artifacts.is_empty() {
            if let (Some((target, span)), false) = (left_out, port.optional) {
                let (stage, target) = (&self.stages[at], &self.stages[target]);
                let message = format!("stage `{}` needs stage `{}`, which `when` leaves out", stage.name, target.name);
                let finding = Finding::new(span, message, "nothing is left of this");
                let finding = match target.left_out {
                    Some(when) => finding.also(when, "leaves it out"),
                    None => finding,
                };
                findings
                    .push(finding.help(format!("give stage `{}` the same `when`, or take another input", stage.name)));
            }
            return None;
        }
        Some(artifacts)
    }

    fn one_only(&self, at: usize, port: &Port, span: Span, reference: &Reference) -> Finding {
        let consumer = &self.stages[at];
        let message = format!("input `{}` of stage type `{}` takes one artifact", port.name, consumer.uses);
        let finding = Finding::new(span, message, "`[*]` gives one per instance");
        match self.by_name.get(reference.stage.as_str()).and_then(|target| self.matching(at, *target)) {
            Some(selection) => finding.help(format!(
                "write `{}[{selection}].{}` to take the matching instance",
                reference.stage, reference.output
            )),
            None => finding,
        }
    }

    /// The selection of one instance by the consumer's own coordinates, where both share axes.
    fn matching(&self, consumer: usize, target: usize) -> Option<String> {
        let axes = self.stages[consumer].axes.as_ref()?;
        let wanted = self.stages[target].axes.as_ref()?;
        let all = wanted.iter().all(|axis| axes.contains(axis));
        let pairs: Vec<String> = wanted.iter().map(|axis| format!("{axis}=${{matrix.{axis}}}")).collect();
        (all && !pairs.is_empty()).then(|| pairs.join(","))
    }

    /// The tasks that a reference means, each with an output that fits.
    pub fn follow(&mut self, asked: &Asked<'_>, findings: &mut Findings) -> Followed {
        let Asked { reference, span, .. } = *asked;
        let Some(target) = self.target(&reference.stage, &reference.output, span, findings) else {
            return Followed::Wrong;
        };
        let stage = &self.stages[target];
        if let Some(sketch) = &stage.sketch {
            self.link(asked, target);
            return self.follow_sketch(asked, target, sketch, findings);
        }
        let Some(tasks) = self.select(asked, target, findings) else { return Followed::Wrong };
        if tasks.is_empty() {
            return Followed::LeftOut(target);
        }
        for task in &tasks {
            if !offers(stage, &self.draft(*task).1.typed.outputs, asked, findings) {
                return Followed::Wrong;
            }
        }
        self.link(asked, target);
        Followed::Tasks(tasks)
    }

    /// Checks as much of a reference as is known of the stage that it names.
    fn follow_sketch(&self, asked: &Asked<'_>, target: usize, sketch: &Sketch, findings: &mut Findings) -> Followed {
        let stage = &self.stages[target];
        let fits = sketch.outputs.as_ref().is_none_or(|outputs| offers(stage, outputs, asked, findings));
        if stage.axes.is_none() && sketch.instances.is_none() {
            return Followed::Sketched(None);
        }
        let Some(conditions) = self.conditions(asked, target, findings) else { return Followed::Wrong };
        let Some(instances) = &sketch.instances else { return Followed::Sketched(None) };
        let agrees = |coordinates: &Coordinates| {
            let value = |axis: &String| coordinates.get(axis).map(value_text);
            conditions.iter().all(|(axis, wanted)| value(axis).as_ref() == Some(wanted))
        };
        let count = instances.iter().filter(|coordinates| agrees(coordinates)).count();
        if count == 0 {
            findings.push(no_instance(stage, instances.iter().map(|coordinates| &**coordinates), asked.span));
        }
        if fits && count > 0 { Followed::Sketched(Some(count)) } else { Followed::Wrong }
    }

    fn link(&mut self, asked: &Asked<'_>, target: usize) {
        let Asked { at, reference, span, port, dynamic } = *asked;
        if at < self.stages.len() && self.links.insert((at, target, span)) {
            let (input, output) = (port.name.clone(), reference.output.clone());
            let whole = !dynamic && !matches!(reference.select, Select::Where(_));
            self.followed.push(Link { from: target, to: at, input, output, span, whole });
        }
    }

    fn target(&self, name: &str, output: &str, span: Span, findings: &mut Findings) -> Option<usize> {
        if let Some(target) = self.by_name.get(name) {
            return Some(*target);
        }
        let finding = Finding::new(span, format!("unknown stage `{name}`"), "no stage of this name");
        let near = super::problem::nearest(name, self.by_name.keys().copied());
        findings.push(match near {
            Some(near) => finding.help(format!("did you mean `{near}.{output}`?")),
            None => finding.help(format!("for a file write `./{name}.{output}`")),
        });
        None
    }

    /// What coordinates a reference asks for, checked against the axes of the stage; none for all instances.
    fn conditions<'r>(
        &self,
        asked: &Asked<'r>,
        target: usize,
        findings: &mut Findings,
    ) -> Option<&'r [(String, String)]> {
        let Asked { at, reference, span, .. } = *asked;
        let stage = &self.stages[target];
        let (name, output) = (&stage.name, &reference.output);
        match (&reference.select, &stage.axes) {
            (Select::Only, None) | (Select::All, Some(_)) => Some(&[]),
            (Select::Only, Some(axes)) => {
                let own = (at < self.stages.len()).then(|| self.matching(at, target)).flatten();
                let one =
                    own.unwrap_or_else(|| axes.iter().map(|axis| format!("{axis}=…")).collect::<Vec<_>>().join(","));
                let help = match one.as_str() {
                    "" => format!("write `{name}[*].{output}` for all"),
                    one => format!("write `{name}[*].{output}` for all or `{name}[{one}].{output}` for one"),
                };
                let message = format!("stage `{name}` has a matrix");
                findings.push(Finding::new(span, message, "which instance?").help(help));
                None
            }
            (Select::All | Select::Where(_), None) => {
                let message = format!("stage `{name}` has no matrix");
                findings.push(
                    Finding::new(span, message, "there is nothing to select from")
                        .help(format!("write `{name}.{output}`")),
                );
                None
            }
            (Select::Where(conditions), Some(axes)) => {
                // The axes of a matrix that is wrong may not be known.
                let unknown = conditions.iter().find(|(axis, _)| !axes.is_empty() && !axes.contains(axis));
                let Some((axis, _)) = unknown else { return Some(conditions) };
                let message = format!("stage `{name}` has no axis `{axis}`");
                let finding = Finding::new(span, message, "unknown axis in the selection");
                findings.push(finding.suggest(axis, "axes", axes.iter().map(String::as_str)));
                None
            }
        }
    }

    /// The tasks of a stage that are selected, in order; empty only where `when` left them out.
    fn select(&mut self, asked: &Asked<'_>, target: usize, findings: &mut Findings) -> Option<Vec<usize>> {
        let conditions = self.conditions(asked, target, findings)?;
        let stage = &self.stages[target];
        let first = self.first[target];
        if conditions.is_empty() {
            return Some((first..first + stage.drafts.len()).collect());
        }
        let axes: Vec<String> = conditions.iter().map(|(axis, _)| axis.clone()).collect();
        let values: Vec<String> = conditions.iter().map(|(_, value)| value.clone()).collect();
        let table = self.selections.entry((target, axes)).or_insert_with_key(|(_, axes)| {
            let mut table = Selection::new();
            for (index, draft) in stage.drafts.iter().enumerate() {
                let values = axes.iter().filter_map(|axis| draft.coordinates.get(axis)).map(value_text).collect();
                table.entry(values).or_default().push(first + index);
            }
            table
        });
        if let Some(tasks) = table.get(&values) {
            return Some(tasks.clone());
        }
        if stage.left_out.is_some() {
            return Some(Vec::new());
        }
        findings.push(no_instance(stage, stage.drafts.iter().map(|draft| &*draft.coordinates), asked.span));
        None
    }

    fn check_path(&mut self, path: &Path, span: Span) {
        if self.missing.len() >= MOST_MISSING || !self.checked_paths.insert(path.to_owned()) {
            return;
        }
        let full = self.root.join(path);
        if full.exists() {
            return;
        }
        let message = format!("there is no `{}` in the project", path.display());
        let finding = Finding::new(span, message, "an input file that does not exist");
        let near = neighbour(&full).map(|near| {
            let near = PathBuf::from(near);
            let root = paths::normalise(self.root);
            near.strip_prefix(&root).unwrap_or(&near).display().to_string()
        });
        self.missing.push(match near {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help(format!("looked for {}", paths::normalise(&full).display())),
        });
    }
}

/// Whether a stage with these outputs has the one that is asked for; reports it if not.
fn offers(stage: &Expanded, outputs: &[Port], asked: &Asked<'_>, findings: &mut Findings) -> bool {
    let Asked { reference, span, port, .. } = *asked;
    let Some(output) = outputs.iter().find(|output| output.name == reference.output) else {
        let message = format!("stage `{}` has no output `{}`", stage.name, reference.output);
        let finding = Finding::new(span, message, format!("not an output of stage type `{}`", stage.uses));
        let names = outputs.iter().map(|output| output.name.as_str());
        findings.push(finding.suggest(&reference.output, "outputs", names));
        return false;
    };
    if !output.kind.fits(&port.kind) {
        let message = format!("`{}.{}` is {}", reference.stage, reference.output, kind(&output.kind));
        findings.push(Finding::new(span, message, format!("input `{}` takes {}", port.name, kind(&port.kind))));
        return false;
    }
    true
}

fn no_instance<'a>(stage: &Expanded, instances: impl Iterator<Item = &'a Coordinates>, span: Span) -> Finding {
    let mut known: Vec<String> = instances.map(matrix::identity).take(9).collect();
    if known.len() == 9 {
        known[8] = "…".to_owned();
    }
    Finding::new(span, format!("stage `{}` has no instance with these coordinates", stage.name), "selects nothing")
        .help(format!("its instances: {}", list(known.iter().map(String::as_str), 9)))
}

/// What became of a reference.
pub enum Followed {
    Tasks(Vec<usize>),
    /// So many tasks, where that can be told, of a stage that is wrong somewhere; nothing is wrong with the reference.
    Sketched(Option<usize>),
    /// `when` left out all that it means, of this stage.
    LeftOut(usize),
    /// It was reported, or what it refers to was.
    Wrong,
}

/// A port kind in words.
#[must_use]
pub fn kind(kind: &PortKind) -> String {
    match kind {
        PortKind::Any => "any artifact".to_owned(),
        PortKind::File => "a file".to_owned(),
        PortKind::Directory => "a directory".to_owned(),
        PortKind::DataSet(record) => format!("a data set of `{record}` rows"),
    }
}

/// A task's index as the pipeline holds it.
#[must_use]
pub fn index(task: usize) -> TaskIndex {
    // Stages have at most a million instances each; a pipeline beyond 2³² tasks does not fit into memory.
    TaskIndex(u32::try_from(task).unwrap_or(u32::MAX))
}
