//! Preparing the next thing on a thread of its own while the present one is worked on.

use lsn_stage::StageResult;
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Where prepared things go.
pub struct Outlet<'a, T> {
    sender: SyncSender<StageResult<T>>,
    closed: &'a AtomicBool,
}

impl<T> Outlet<'_, T> {
    /// Hands `item` over when the one before is done with; `false` where nobody wants more, or after an error.
    #[must_use]
    pub fn push(&self, item: StageResult<T>) -> bool {
        let failed = item.is_err();
        self.sender.send(item).is_ok() && !failed
    }

    /// Whether nobody wants what is being prepared.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Runs `prepare` on a thread of its own and `consume` on this one. At most one thing is ready, or being prepared, beside the one
/// that `consume` has taken. When `consume` returns, `prepare` is asked to stop and waited for.
pub fn ahead<T: Send, R>(
    prepare: impl FnOnce(Outlet<'_, T>) + Send,
    consume: impl FnOnce(&Receiver<StageResult<T>>) -> R,
) -> R {
    let closed = AtomicBool::new(false);
    let (sender, receiver) = sync_channel(0);
    thread::scope(|scope| {
        scope.spawn(|| prepare(Outlet { sender, closed: &closed }));
        let result = consume(&receiver);
        closed.store(true, Ordering::Relaxed);
        drop(receiver);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsn_stage::StageError;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn things_come_in_order_and_no_further_ahead_than_one() {
        let (prepared, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all: Vec<usize> = ahead(
            |outlet| {
                for item in 0..100 {
                    assert!(prepared.fetch_add(1, Ordering::SeqCst) <= taken.load(Ordering::SeqCst) + 1);
                    assert!(outlet.push(Ok(item)));
                }
            },
            |items| items.iter().inspect(|_| _ = taken.fetch_add(1, Ordering::SeqCst)).collect::<StageResult<_>>(),
        )
        .unwrap();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_the_preparation_and_reaches_the_consumer() {
        let result = ahead(
            |outlet| assert!(outlet.push(Ok(1)) && !outlet.push(Err(StageError::user("no more")))),
            |items| items.iter().collect::<StageResult<Vec<_>>>(),
        );
        assert_eq!(result.unwrap_err().to_string(), StageError::user("no more").to_string());
    }

    #[test]
    fn a_consumer_that_leaves_stops_the_preparation() {
        let first = ahead(
            |outlet| {
                let mut item = 0;
                while outlet.push(Ok(item)) {
                    item += 1;
                }
                // What takes long asks in between.
                while !outlet.is_closed() {
                    thread::yield_now();
                }
            },
            |items| items.recv().unwrap().unwrap(),
        );
        assert_eq!(first, 0);
    }
}
