//! `ARCHITECTURE.md` is true: its map is the tree, and its arrows are all the arrows there are.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced block of `ARCHITECTURE.md` that is labelled `name`.
fn block(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let fence = format!("```{name}");
    let body = text.lines().skip_while(|line| *line != fence).skip(1).take_while(|line| *line != "```");
    let lines: Vec<String> = body.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "ARCHITECTURE.md has no block `{name}`");
    lines
}

/// `from → to, to` lines as a map.
fn arrows(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    block(name)
        .iter()
        .map(|line| {
            let (from, to) = line.split_once('→').unwrap_or((line, ""));
            let to = to.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            (from.trim().to_owned(), to)
        })
        .collect()
}

/// Names of the module directories of the engine.
fn modules() -> BTreeSet<String> {
    fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_map_is_the_tree() {
    let mut mapped = BTreeSet::new();
    let mut parents: Vec<(usize, PathBuf)> = Vec::new();
    for line in block("map") {
        let indent = line.len() - line.trim_start().len();
        let Some(word) = line.split_whitespace().next().filter(|word| word.contains(['/', '.'])) else { continue };
        parents.retain(|(depth, _)| *depth < indent);
        let path = parents.last().map_or_else(|| PathBuf::from(word), |(_, parent)| parent.join(word));
        assert!(root().join(&path).exists(), "ARCHITECTURE.md maps `{}`, which is not in the tree", path.display());
        parents.push((indent, path.clone()));
        mapped.insert(path.components().collect::<PathBuf>());
    }
    let mut wanted: BTreeSet<PathBuf> = modules().into_iter().map(|module| Path::new("src").join(module)).collect();
    wanted.extend(crates().into_values().map(|(dir, _)| dir).filter(|dir| !dir.as_os_str().is_empty()));
    for path in wanted {
        assert!(mapped.contains(&path), "`{}` is in the tree but not on ARCHITECTURE.md's map", path.display());
    }
}

/// Crate name → (directory relative to the root, normal dependencies inside the workspace).
fn crates() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    packages
        .iter()
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let dir = manifest.parent().unwrap().strip_prefix(root()).unwrap().to_path_buf();
            let dependencies = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str())
                .filter(|name| names.contains(name))
                .map(str::to_owned)
                .collect();
            (package["name"].as_str().unwrap().to_owned(), (dir, dependencies))
        })
        .collect()
}

#[test]
fn the_arrows_between_crates_are_the_ones_drawn() {
    let real: BTreeMap<_, _> = crates().into_iter().map(|(name, (_, dependencies))| (name, dependencies)).collect();
    assert_eq!(real, arrows("crates"));
}

/// The engine modules that a source text names after `crate::`, alone or in a (nested) group.
fn imports(text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, marker) in text.match_indices("crate::") {
        let mut depth = 0;
        let mut first_of_path = true;
        let mut word = String::new();
        for c in text[at + marker.len()..].chars() {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if first_of_path && depth <= 1 && modules.contains(&word) {
                found.insert(word.clone());
            }
            if !word.is_empty() {
                first_of_path = false;
                word.clear();
            }
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first_of_path = true,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn the_arrows_between_modules_of_the_engine_are_the_ones_drawn() {
    let modules = modules();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in &modules {
        let targets = real.entry(module.clone()).or_default();
        for entry in walkdir::WalkDir::new(root().join("src").join(module)) {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                targets.extend(imports(&fs::read_to_string(&path).unwrap(), &modules));
            }
        }
        targets.remove(module);
    }
    let drawn = arrows("modules");
    assert_eq!(real, drawn);
    // No arrow runs back: leaves can be taken off until nothing is left.
    let mut left = drawn;
    while !left.is_empty() {
        let leaf =
            left.iter().find(|(_, to)| to.iter().all(|name| !left.contains_key(name))).map(|(name, _)| name.clone());
        let leaf = leaf.unwrap_or_else(|| panic!("these modules import each other: {:?}", left.keys()));
        left.remove(&leaf);
    }
}

#[test]
fn imports_are_found_in_both_forms() {
    let modules = ["plan", "run", "cli"].map(str::to_owned).into();
    let found = imports("use crate::{plan::{A, b::C}, run};\nfn f() -> crate::cli::X {}", &modules);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["cli", "plan", "run"]);
    assert!(imports("use crate::other::{plan, run};", &modules).is_empty());
}
