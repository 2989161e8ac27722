//! [`Tree`]: who is there in a container and how they are related: tasks, processes, parents, groups, sessions.
//!
//! All relations are plain numbers under the one lock of the container (level [`LEVEL`], the outermost spin lock). Numbers
//! are those of the container's outermost pid namespace. A number stays taken while a task, a process (zombies too), a group or
//! a session has it.

use super::namespaces::PidNamespace;
use super::trace::Traced;
use super::{Process, Task};
use crate::abi::Errno;
use crate::fs::Stream;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use chitin_core::lock::Level;

/// Level of a container's tree lock.
pub const LEVEL: Level = Level(20);

/// Highest pid plus one.
pub const PID_MAX: u32 = 4_194_304;

/// A process in the tree.
pub struct Member {
    /// The process; a zombie while its status is set.
    pub process: Arc<Process>,
    /// Parent, 0 for none.
    pub parent: u32,
    /// Children, in the order of their birth.
    pub children: Vec<u32>,
    /// Process group.
    pub group: u32,
    /// Whether it has called execve since fork (setpgid(2)).
    pub has_exec: bool,
}

/// A process group.
pub struct Group {
    /// Its session.
    pub session: u32,
    /// Its processes.
    pub members: Vec<u32>,
}

/// A session.
#[derive(Default)]
pub struct Session {
    /// The controlling terminal.
    pub terminal: Option<Arc<dyn Stream>>,
    /// Device number of the terminal.
    pub terminal_device: u64,
    /// Foreground process group, 0 for none.
    pub foreground: u32,
    groups: usize,
}

impl Session {
    /// Device number and foreground group of the controlling terminal.
    #[must_use]
    pub fn terminal_numbers(&self) -> Option<(u64, u32)> {
        self.terminal.as_ref().map(|_| (self.terminal_device, self.foreground))
    }
}

/// See the module.
#[derive(Default)]
pub struct Tree {
    last: u32,
    /// Every live task, and leaders that are zombies.
    pub tasks: BTreeMap<u32, Arc<Task>>,
    /// Every process that was not reaped.
    pub members: BTreeMap<u32, Member>,
    /// Threads with a tracer.
    pub traced: BTreeMap<u32, Traced>,
    groups: BTreeMap<u32, Group>,
    sessions: BTreeMap<u32, Session>,
    /// Innermost namespace of each number that is seen in one below the container's.
    nested: BTreeMap<u32, Arc<PidNamespace>>,
}

impl Tree {
    /// A number that nobody has, for one that comes into being in `namespace`.
    ///
    /// # Errors
    /// `EAGAIN` when all are taken, `ENOMEM` when the namespace's init has ended.
    pub fn new_number(&mut self, namespace: &Arc<PidNamespace>) -> Result<u32, Errno> {
        let number = self.free_number().ok_or(Errno::EAGAIN)?;
        if !namespace.is_outermost() {
            namespace.add(number)?;
            self.nested.insert(number, namespace.clone());
        }
        Ok(number)
    }

    fn free_number(&mut self) -> Option<u32> {
        for _ in 0..PID_MAX {
            self.last = if self.last + 1 >= PID_MAX { 300 } else { self.last + 1 };
            if !self.is_taken(self.last) {
                return Some(self.last);
            }
        }
        None
    }

    fn is_taken(&self, number: u32) -> bool {
        self.tasks.contains_key(&number)
            || self.members.contains_key(&number)
            || self.traced.contains_key(&number)
            || self.groups.contains_key(&number)
            || self.sessions.contains_key(&number)
    }

    /// A number may have become free: then it means nothing in other namespaces either. Called whenever something that has
    /// one is taken out.
    pub fn settle(&mut self, number: u32) {
        if self.nested.contains_key(&number)
            && !self.is_taken(number)
            && let Some(namespace) = self.nested.remove(&number)
        {
            namespace.remove(number);
        }
    }

    /// Adds a process below `parent` to a group; with no group, it leads a new session.
    pub fn add(&mut self, process: Arc<Process>, parent: u32, group: Option<u32>) {
        let pid = process.pid();
        let group = group.filter(|group| self.groups.contains_key(group)).unwrap_or_else(|| {
            self.sessions.insert(pid, Session { groups: 1, ..Session::default() });
            self.groups.insert(pid, Group { session: pid, members: Vec::new() });
            pid
        });
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.members.push(pid);
            process.set_place(group, entry.session);
        }
        if let Some(parent) = self.members.get_mut(&parent) {
            parent.children.push(pid);
        }
        process.pid_namespace().count();
        let member = Member { process, parent, children: Vec::new(), group, has_exec: false };
        self.members.insert(pid, member);
    }

    /// Removes a process for good: its number is free again.
    pub fn remove(&mut self, pid: u32) -> Option<Arc<Process>> {
        let member = self.members.remove(&pid)?;
        if let Some(parent) = self.members.get_mut(&member.parent) {
            parent.children.retain(|child| *child != pid);
        }
        member.process.pid_namespace().discount();
        self.leave_group(pid, member.group);
        self.settle(pid);
        Some(member.process)
    }

    fn leave_group(&mut self, pid: u32, number: u32) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        group.members.retain(|member| *member != pid);
        if group.members.is_empty() {
            let session = group.session;
            self.groups.remove(&number);
            if let Some(entry) = self.sessions.get_mut(&session) {
                entry.groups -= 1;
                if entry.groups == 0 {
                    self.sessions.remove(&session);
                }
            }
            self.settle(number);
            self.settle(session);
        }
    }

    /// The process of that number.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        self.members.get(&pid).map(|member| &member.process)
    }

    /// The process that has a thread of that number.
    #[must_use]
    pub fn process_with_thread(&self, number: u32) -> Option<&Arc<Process>> {
        self.process(number).or_else(|| self.tasks.get(&number).map(|task| task.process()))
    }

    /// Every process, zombies too.
    pub fn all_processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.members.values().map(|member| &member.process)
    }

    /// A process group.
    #[must_use]
    pub fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(&number)
    }

    /// A session.
    #[must_use]
    pub fn session(&self, number: u32) -> Option<&Session> {
        self.sessions.get(&number)
    }

    /// A session, to be changed.
    pub fn session_mut(&mut self, number: u32) -> Option<&mut Session> {
        self.sessions.get_mut(&number)
    }

    /// Group and session of a process.
    #[must_use]
    pub fn group_and_session(&self, pid: u32) -> Option<(u32, u32)> {
        let group = self.members.get(&pid)?.group;
        Some((group, self.groups.get(&group)?.session))
    }

    /// The processes of a group.
    #[must_use]
    pub fn group_processes(&self, number: u32) -> Vec<Arc<Process>> {
        let members = self.groups.get(&number).map(|group| group.members.as_slice()).unwrap_or_default();
        members.iter().filter_map(|pid| self.process(*pid).cloned()).collect()
    }

    /// Moves a process to a group of the same session, which is made if it has the process's own number.
    pub fn move_to_group(&mut self, pid: u32, number: u32) {
        let Some((old, session)) = self.group_and_session(pid) else { return };
        if old == number {
            return;
        }
        let group = self.groups.entry(number).or_insert_with(|| {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.groups += 1;
            }
            Group { session, members: Vec::new() }
        });
        group.members.push(pid);
        if let Some(member) = self.members.get_mut(&pid) {
            member.group = number;
            member.process.set_place(number, session);
        }
        self.leave_group(pid, old);
    }

    /// Makes a process the leader of a new session and group; it leads no group before.
    pub fn new_session(&mut self, pid: u32) {
        let Some((old, _)) = self.group_and_session(pid) else { return };
        self.sessions.insert(pid, Session { groups: 1, ..Session::default() });
        self.groups.insert(pid, Group { session: pid, members: alloc::vec![pid] });
        if let Some(member) = self.members.get_mut(&pid) {
            member.group = pid;
            member.process.set_place(pid, pid);
        }
        self.leave_group(pid, old);
    }

    /// Whether no member of the group has a parent in another group of the same session (so that nobody would continue
    /// it); `ignoring` is taken as gone.
    #[must_use]
    pub fn is_orphaned(&self, number: u32, ignoring: u32) -> bool {
        let Some(group) = self.groups.get(&number) else { return true };
        !group.members.iter().filter(|pid| **pid != ignoring).any(|pid| {
            let Some(member) = self.members.get(pid) else { return false };
            self.group_and_session(member.parent).is_some_and(|(parent_group, session)| {
                parent_group != number && session == group.session && !member.process.is_zombie()
            })
        })
    }
}
