//! A thread that serves one device's queues.

use super::{Violation, VirtioDevice};
use crate::event::Event;
use crate::jail::JailError;
use crate::machine::notice::{GuestEnd, Notices};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Instant;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<Event>,
    thread: Option<JoinHandle<()>>,
    counters: Vec<(&'static str, Arc<AtomicU64>)>,
}

impl Worker {
    /// Starts a thread called `name` for `device`. `prepare` runs first in it.
    ///
    /// # Errors
    /// That of eventfd(2) or of starting a thread.
    pub fn start(
        name: &str,
        mut device: Box<dyn VirtioDevice>,
        notices: Arc<Notices>,
        prepare: impl FnOnce() -> Result<(), JailError> + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Event::new()?);
        let counters = device.queues().iter().map(|q| (q.name(), Arc::clone(q.served()))).collect();
        let stopped = Arc::clone(&stop);
        let body = move || {
            if let Err(error) = prepare() {
                return notices.end(GuestEnd::Crash(format!("cannot prepare a device thread: {error}")));
            }
            if let Err(Violation { queue, rule }) = serve(device.as_mut(), &stopped) {
                notices.end(GuestEnd::Violation(format!("{queue}: {rule}")));
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(body)?;
        Ok(Self { stop, thread: Some(thread), counters })
    }

    /// Requests served, by queue.
    #[must_use]
    pub fn counters(&self) -> &[(&'static str, Arc<AtomicU64>)] {
        &self.counters
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.signal();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(device: &mut dyn VirtioDevice, stop: &Event) -> Result<(), Violation> {
    let mut ready = Vec::new();
    loop {
        ready.clear();
        let deadline = device.deadline();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let source_ready = {
            let kicks = device.queues().iter().map(|queue| PollFd::new(queue.kick().as_ref(), PollFlags::IN));
            let mut watched: Vec<PollFd<'_>> = kicks.chain([PollFd::new(stop, PollFlags::IN)]).collect();
            let queues = watched.len() - 1;
            watched.extend(device.source().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            // Fails only with EINTR; then nothing is ready and the next round sees what is.
            let _ = poll(&mut watched, timeout.as_ref());
            let mut flags = watched.iter().map(PollFd::revents);
            let kicked = flags.by_ref().take(queues).enumerate();
            ready.extend(kicked.filter(|(_, flags)| flags.contains(PollFlags::IN)).map(|(index, _)| index));
            if flags.next().is_some_and(|flags| flags.contains(PollFlags::IN)) {
                return Ok(());
            }
            flags.next().is_some_and(|flags| !flags.is_empty())
        };
        for index in &ready {
            device.kicked(*index)?;
        }
        if source_ready {
            device.source_ready()?;
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            device.deadline_passed()?;
        }
    }
}
