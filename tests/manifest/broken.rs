//! Every message that a broken manifest can cause, as a person sees it.

use crate::registry::registry;
use lsn::manifest::{Overrides, load};
use std::{collections::BTreeMap, fs, path::Path};

/// What the command line changes about some of the manifests.
fn overrides(name: &str) -> Overrides {
    let env = BTreeMap::from([("HOME".to_owned(), "/home/x".to_owned())]);
    let plain = Overrides { env, ..Overrides::default() };
    match name {
        "set_undeclared" => Overrides {
            set: ["limt=5", "model.dtyp=f32", "limit", "limit.x=1", "model={path: [}"].map(str::to_owned).to_vec(),
            ..plain
        },
        "unknown_profile" => Overrides { profile: Some("clutser".to_owned()), ..plain },
        "params_file" => Overrides { params_files: vec!["tests/manifest/broken/parts/params.yaml".into()], ..plain },
        _ => plain,
    }
}

#[test]
fn broken_manifests_explain_themselves() {
    let directory = Path::new("tests/manifest/broken");
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("the broken manifests")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 20, "only {} broken manifests", names.len());
    for name in names {
        let path = directory.join(format!("{name}.yaml"));
        let Err(errors) = load(&path, &overrides(&name), &registry()) else { panic!("{name} is not broken") };
        for problem in &errors.problems {
            assert!(problem.line > 0 && problem.column > 0 && !problem.file.is_empty());
        }
        insta::assert_snapshot!(name, errors.render(100, false));
    }
}

#[test]
fn a_manifest_that_is_no_text_is_not_called_misspelt() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("t.yaml");
    fs::write(&path, b"lsn: 1\nname: \xff\n").expect("a file");
    let errors = load(&path, &Overrides::default(), &registry()).expect_err("not UTF-8");
    assert!(errors.problems[0].message.contains("not UTF-8 text (byte 13)"), "{errors}");
    assert_eq!(errors.problems[0].help, None);
}

#[test]
fn a_missing_manifest_is_a_message_too() {
    let errors = load(Path::new("tests/manifest/broken/cycel.yaml"), &Overrides::default(), &registry());
    insta::assert_snapshot!("missing_manifest", errors.expect_err("no such file").render(100, false));
}
