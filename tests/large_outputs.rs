//! Outputs large enough to be on their way to the disk before their command ends, and links to them in the project.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod support;

use lsn_digest::Digest;
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};
use support::Project;

/// Large enough for write-back to begin early, and for hashing by all cores.
const SIZE: usize = 40 << 20;

fn zeros_then(change: impl FnOnce(&mut Vec<u8>)) -> Digest {
    let mut bytes = vec![0; SIZE];
    change(&mut bytes);
    Digest::of(&bytes)
}

/// Invariant 1: what is registered are the last bytes, whatever a command did to those that it wrote first. The pauses
/// give the write-back time to begin; the digests hold without them.
#[test]
fn a_large_output_is_registered_as_its_command_left_it() {
    let project = Project::new();
    let fill = format!("head -c {SIZE} /dev/zero > ${{outputs.out}}; sleep 0.2");
    let line = |change: &str| format!("{{run: \"{fill}; {change}\", outputs: {{out: o.bin}}}}");
    let stages = [
        ("rewritten", "printf changed | dd of=${outputs.out} bs=1 seek=8192 conv=notrunc status=none"),
        (
            "extended",
            "printf more >> ${outputs.out}; sleep 0.1; printf first | dd of=${outputs.out} conv=notrunc status=none",
        ),
        ("cut", "truncate -s 20000001 ${outputs.out}"),
        ("replaced", "tr '\\\\0' x < ${outputs.out} > new; mv new ${outputs.out}"),
        ("emptied", "printf little > ${outputs.out}"),
    ];
    let text: String = stages
        .iter()
        .map(|(name, change)| format!("  {name}:\n    uses: command\n    with: {}\n", line(change)))
        .collect();
    project.pipeline(&format!("stages:\n{text}"));
    project.run(&[]);

    let expected = [
        ("cut.out", Digest::of(&vec![0; 20_000_001])),
        ("emptied.out", Digest::of(b"little")),
        (
            "extended.out",
            zeros_then(|bytes| {
                bytes.extend(b"more");
                bytes[..5].copy_from_slice(b"first");
            }),
        ),
        ("replaced.out", zeros_then(|bytes| bytes.fill(b'x'))),
        ("rewritten.out", zeros_then(|bytes| bytes[8192..][..7].copy_from_slice(b"changed"))),
    ];
    let expected = expected.map(|(name, digest)| (name.to_owned(), digest.hex()));
    assert_eq!(project.outputs().into_iter().collect::<Vec<_>>(), expected);
    let said = project.lsn(&["cache", "verify"]).ok();
    assert!(said.out.contains("all sound"), "{}", said.out);
}

const LINKED: &str = "stages:
  make:
    uses: command
    with: {run: \"head -c 100000 /dev/zero | tr '\\\\0' x > ${outputs.out}\", outputs: {out: o.txt}}
outputs:
  made/out.txt: make.out
";

#[test]
fn outputs_are_links_into_the_store_where_that_is_wished() {
    let project = Project::new();
    project.pipeline(LINKED);
    project.run(&["--link-outputs"]);
    let output = project.path("made/out.txt");
    let blob = project.path(".lsn/store/blobs").join({
        let hex = Digest::of(&vec![b'x'; 100_000]).hex();
        format!("{}/{hex}", &hex[..2])
    });
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&output), 0o444);
    assert_eq!(fs::read(&output).unwrap(), fs::read(&blob).unwrap());

    // Removed, it comes back, and nothing runs.
    fs::remove_file(&output).unwrap();
    let again = project.run(&["--link-outputs"]);
    assert!(again.executed().is_empty());
    assert_eq!(mode(&output), 0o444);

    // Without the wish it is a file of the person's own.
    fs::remove_file(&output).unwrap();
    project.run(&[]);
    assert_eq!(mode(&output) & 0o200, 0o200);
    assert_ne!(fs::metadata(&output).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
}

/// Whoever is not held back by permissions can write through a link into the store: that is noticed before the blob is
/// used again, told, and made anew; the edit stays where it is (invariant 7).
#[test]
fn an_edit_through_a_link_is_noticed_and_not_taken_for_the_result() {
    let project = Project::new();
    project.pipeline(LINKED);
    project.run(&["--link-outputs"]);
    let output = project.path("made/out.txt");
    if fs::metadata(&output).unwrap().nlink() < 2 {
        eprintln!("the file system has reflinks: there is no link to write through");
        return;
    }
    fs::set_permissions(&output, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&output, vec![b'y'; 100_000]).unwrap();
    let said = project.lsn(&["run", "pipeline.yaml", "--link-outputs"]).ok();
    assert!(said.err.contains("holds other bytes"), "{}", said.err);
    assert!(said.err.contains("was changed after lsn wrote it"), "{}", said.err);
    assert_eq!(fs::read(&output).unwrap(), vec![b'y'; 100_000], "an edit was thrown away unasked");

    assert!(project.run(&["--link-outputs", "--overwrite"]).executed().is_empty(), "made anew a second time");
    assert_eq!(fs::read(&output).unwrap(), vec![b'x'; 100_000]);
}
