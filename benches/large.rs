//! A 2 GiB output through the real program, beside the plain copy: a run that copies and registers it, and one that
//! restores it.
//!
//! `LSN_BENCH_LARGE=1 cargo bench --bench large`; `LSN_BENCH_DIR` says where (a disk, not memory), `LSN_BENCH_BYTES`
//! how large, `LSN_BENCH_ROUNDS` how often. Every round does everything once, so that all rows saw the same machine; a row
//! gives the least wall time of all rounds and the least CPU time (user and system, all children). Each begins with an
//! idle disk and the source in memory.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed, as it should")]

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Wall and CPU time.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    const WORST: Self = Self { wall: Duration::MAX, cpu: Duration::MAX };

    fn least(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), cpu: self.cpu.min(other.cpu) }
    }
}

/// The rows of the table, in the order in which a round does them.
const ROWS: [&str; 6] = [
    "plain copy",
    "plain copy, flushed",
    "digest alone (in this process)",
    "run, cold",
    "run, output restored by link",
    "run, output restored by copy",
];

fn main() {
    if env::var_os("LSN_BENCH_LARGE").is_none() {
        println!("set LSN_BENCH_LARGE=1 to copy some GiB");
        return;
    }
    let number = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
    let (bytes, rounds) = (number("LSN_BENCH_BYTES", 2 << 30), number("LSN_BENCH_ROUNDS", 5));
    let directory = env::var("LSN_BENCH_DIR").map_or_else(|_| tempfile::tempdir(), tempfile::tempdir_in).unwrap();
    let source = directory.path().join("source");
    write_source(&source, bytes);

    let mut least = [Cost::WORST; ROWS.len()];
    for _ in 0..rounds {
        for (least, cost) in least.iter_mut().zip(round(directory.path(), &source)) {
            *least = least.least(cost);
        }
    }
    println!("{bytes} bytes, least of {rounds} rounds:");
    for (name, cost) in ROWS.iter().zip(least) {
        println!("  {name:32} {:6.3} s wall {:6.3} s CPU", cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
    }
    let beyond = |row: usize, floor: usize| least[row].wall.as_secs_f64() - least[floor].wall.as_secs_f64();
    println!("registered {:.3} s beyond the plain copy, {:.3} s beyond the flushed one", beyond(3, 0), beyond(3, 1));
    println!("restored within {:.3} s", least[4].wall.as_secs_f64());
}

fn write_source(path: &Path, bytes: u64) {
    let mut file = fs::File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    for number in 0..bytes.div_ceil(1 << 20) {
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut block);
        file.write_all(&block).unwrap();
    }
    file.set_len(bytes).unwrap();
}

fn round(directory: &Path, source: &Path) -> [Cost; ROWS.len()] {
    let work = tempfile::tempdir_in(directory).unwrap();
    let plain = work.path().join("plain");
    let copy = || assert!(Command::new("sh").args(["-c", &copy_line(source, &plain)]).status().unwrap().success());
    let copied = measure(source, copy);
    fs::remove_file(&plain).unwrap();
    let flushed = measure(source, || {
        copy();
        fs::File::open(&plain).unwrap().sync_all().unwrap();
    });
    fs::remove_file(&plain).unwrap();
    let mut digest = None;
    let digested = measure(source, || {
        digest = Some(blake3::Hasher::new().update_mmap_rayon(source).unwrap().finalize());
    });

    let project = Project::new(&work.path().join("project"), source);
    let cold = measure(source, || project.run(&["--link-outputs"]));
    fs::remove_file(project.output()).unwrap();
    let linked = measure(source, || project.run(&["--link-outputs"]));
    fs::remove_file(project.output()).unwrap();
    let restored = measure(source, || project.run(&[]));
    let found = blake3::Hasher::new().update_mmap_rayon(project.output()).unwrap().finalize();
    assert_eq!(Some(found), digest, "the output is not the source");
    [copied, flushed, digested, cold, linked, restored]
}

fn copy_line(source: &Path, target: &Path) -> String {
    format!("cp --reflink=never '{}' '{}'", source.display(), target.display())
}

/// What `work` costs once the disk is idle and the source is in memory.
fn measure(source: &Path, work: impl FnOnce()) -> Cost {
    io::copy(&mut fs::File::open(source).unwrap(), &mut io::sink()).unwrap();
    rustix::fs::sync();
    let (start, cpu) = (Instant::now(), cpu_time());
    work();
    Cost { wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
}

/// CPU time of this process and its ended children so far.
fn cpu_time() -> Duration {
    let of = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is valid for writes, and zeroed is a valid value of this plain C structure.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        let time = |time: libc::timeval| Duration::new(time.tv_sec.cast_unsigned(), time.tv_usec as u32 * 1000);
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}

/// A pipeline of one stage, which copies the source.
struct Project {
    root: PathBuf,
}

impl Project {
    fn new(root: &Path, source: &Path) -> Self {
        fs::create_dir(root).unwrap();
        // Not an input: its digest would be the copy's, and is not what is measured here.
        let manifest = format!(
            "lsn: 1\nname: large\nstages:\n  copy:\n    uses: command\n    env: {{SOURCE: '{}'}}\n    \
             with: {{run: 'cp --reflink=never \"$SOURCE\" ${{outputs.out}}', outputs: {{out: out.bin}}}}\n\
             outputs:\n  made/out.bin: copy.out\n",
            source.display()
        );
        fs::write(root.join("pipeline.yaml"), manifest).unwrap();
        Self { root: root.to_owned() }
    }

    fn output(&self) -> PathBuf {
        self.root.join("made/out.bin")
    }

    fn run(&self, args: &[&str]) {
        let status = Command::new(env!("CARGO_BIN_EXE_lsn"))
            .args(["run", "pipeline.yaml", "--progress", "none"])
            .args(args)
            .env_remove("LSN_STORE")
            .env_remove("LSN_LINK_OUTPUTS")
            .current_dir(&self.root)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }
}
