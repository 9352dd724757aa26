//! Paths as a manifest writes them: cleaned of `.` and `..` without asking the file system.

use std::path::{Component, Path, PathBuf};

/// Without `.`, and without `x/..` where `x` is a plain name.
#[must_use]
pub fn normalise(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}

/// Whether a path stays inside the directory that it is relative to, and is not that directory itself.
#[must_use]
pub fn is_inside(path: &Path) -> bool {
    matches!(normalise(path).components().next(), Some(Component::Normal(_)))
}

/// Two paths of which one would overwrite the other.
#[must_use]
pub fn collide(a: &Path, b: &Path) -> bool {
    let (a, b) = (normalise(a), normalise(b));
    a.starts_with(&b) || b.starts_with(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaned() {
        for (path, clean) in [("./a/../b", "b"), ("a/./b/", "a/b"), ("../x", "../x"), (".", "."), ("/a/../b", "/b")] {
            assert_eq!(normalise(Path::new(path)), Path::new(clean), "{path}");
        }
        assert!(is_inside(Path::new("a/../b")));
        for path in ["../a", "/a", ".", "a/../.."] {
            assert!(!is_inside(Path::new(path)), "{path}");
        }
        assert!(collide(Path::new("a/b"), Path::new("./a")));
        assert!(!collide(Path::new("a/bc"), Path::new("a/b")));
    }
}
