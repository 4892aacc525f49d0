//! Turns and time by a seed: one thread, tasks that belong to processes, and a clock that stands still while anybody
//! can go on.
//!
//! A process can be killed (its tasks are dropped where they are) or suspended (they are not polled, whatever wakes
//! them). What it has asked others for goes on either way. Invariant: the order of turns follows from the seed and from
//! nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use super::ground::Deed;

/// A process: what is killed and suspended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process(pub(crate) u64);

/// Turns of one life, at most: whoever needs more goes round in circles.
const TURNS_MAX: u64 = 3_000_000;

/// The executor.
pub(crate) struct Executor {
    world: World,
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    ready: Vec<usize>,
    /// Woken while their process is suspended.
    parked: Vec<usize>,
    rng: fastrand::Rng,
    turns: u64,
}

struct Task {
    process: Process,
    future: BoxFuture<'static, ()>,
    wake: Arc<TaskWake>,
    waker: Waker,
}

struct TaskWake {
    id: usize,
    queued: AtomicBool,
    woken: Arc<Mutex<VecDeque<Arc<TaskWake>>>>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let woken = self.woken.clone();
            woken.lock().unwrap_or_else(PoisonError::into_inner).push_back(self);
        }
    }
}

/// A handle on time and tasks, for whoever runs in it.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    order: u64,
    events: BTreeMap<(Duration, u64), Event>,
    spawned: Vec<(Process, BoxFuture<'static, ()>)>,
    killed: Vec<Process>,
    suspended: BTreeSet<Process>,
    resumed: bool,
    woken: Arc<Mutex<VecDeque<Arc<TaskWake>>>>,
}

enum Event {
    Wake(Waker),
    Deed(Deed),
}

impl World {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(crate) fn later(&self, delay: Duration, deed: Deed) {
        let mut state = self.lock();
        let key = state.key(delay);
        state.events.insert(key, Event::Deed(deed));
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        let deadline = self.now() + duration;
        Sleep { world: self.clone(), deadline, key: None }
    }

    /// Begins a task of a process.
    pub(crate) fn spawn(&self, process: Process, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawned.push((process, Box::pin(task)));
    }

    /// Ends a process where it is.
    pub(crate) fn kill(&self, process: Process) {
        let mut state = self.lock();
        state.spawned.retain(|(spawned, _)| *spawned != process);
        state.killed.push(process);
    }

    /// Lets a process stand still.
    pub(crate) fn suspend(&self, process: Process) {
        self.lock().suspended.insert(process);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self, process: Process) {
        let mut state = self.lock();
        state.suspended.remove(&process);
        state.resumed = true;
    }
}

impl State {
    fn key(&mut self, delay: Duration) -> (Duration, u64) {
        self.order += 1;
        (self.now + delay, self.order)
    }
}

/// Waits until a time.
pub(crate) struct Sleep {
    world: World,
    deadline: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.lock();
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            state.order += 1;
            (self.deadline, state.order)
        });
        state.events.insert(key, Event::Wake(context.waker().clone()));
        drop(state);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.lock().events.remove(&key);
        }
    }
}

impl Executor {
    pub(crate) fn new(seed: u64) -> Self {
        let world = World(Arc::default());
        let rng = fastrand::Rng::with_seed(seed);
        let (tasks, free, ready, parked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { world, tasks, free, ready, parked, rng, turns: 0 }
    }

    pub(crate) fn world(&self) -> World {
        self.world.clone()
    }

    /// Lets everything go on until `done` says so or `until` is reached. Says whether it was `done`.
    pub(crate) fn run(&mut self, until: Duration, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            self.take_changes();
            if !self.ready.is_empty() {
                self.turn();
            } else if !self.advance(until) {
                return false;
            }
        }
    }

    /// Turns so far.
    pub(crate) fn turns(&self) -> u64 {
        self.turns
    }

    fn turn(&mut self) {
        let at = self.rng.usize(..self.ready.len());
        let id = self.ready.swap_remove(at);
        let Some(mut task) = self.tasks[id].take() else { return };
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "{TURNS_MAX} turns and no end: somebody goes round in circles");
        task.wake.queued.store(false, Ordering::Relaxed);
        let poll = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
        match poll {
            Poll::Pending => self.tasks[id] = Some(task),
            Poll::Ready(()) => self.free.push(id),
        }
    }

    /// What was spawned, killed, resumed and woken.
    fn take_changes(&mut self) {
        let (spawned, killed, resumed, woken) = {
            let mut state = self.world.lock();
            let spawned = std::mem::take(&mut state.spawned);
            let killed = std::mem::take(&mut state.killed);
            let resumed = std::mem::take(&mut state.resumed);
            (spawned, killed, resumed, state.woken.clone())
        };
        for process in killed {
            self.bury(process);
        }
        for (process, future) in spawned {
            self.begin(process, future, &woken);
        }
        if resumed {
            self.ready.append(&mut self.parked);
        }
        loop {
            let Some(wake) = woken.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { break };
            // A wake of a task that has ended belongs to nobody, even if its place was given to another.
            if self.tasks[wake.id].as_ref().is_some_and(|task| Arc::ptr_eq(&task.wake, &wake)) {
                self.ready.push(wake.id);
            }
        }
        self.park();
    }

    fn park(&mut self) {
        let state = self.world.lock();
        if state.suspended.is_empty() {
            return;
        }
        let (tasks, parked) = (&self.tasks, &mut self.parked);
        self.ready.retain(|id| {
            let process = tasks[*id].as_ref().map(|task| task.process);
            let stands = process.is_some_and(|process| state.suspended.contains(&process));
            if stands {
                parked.push(*id);
            }
            !stands
        });
    }

    fn begin(
        &mut self,
        process: Process,
        future: BoxFuture<'static, ()>,
        woken: &Arc<Mutex<VecDeque<Arc<TaskWake>>>>,
    ) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        let wake = Arc::new(TaskWake { id, queued: AtomicBool::new(true), woken: woken.clone() });
        let waker = Waker::from(wake.clone());
        self.tasks[id] = Some(Task { process, future, wake, waker });
        self.ready.push(id);
    }

    fn bury(&mut self, process: Process) {
        for id in 0..self.tasks.len() {
            if self.tasks[id].as_ref().is_some_and(|task| task.process == process) {
                // Dropped without a lock being held: what it drops may use the world.
                drop(self.tasks[id].take());
                self.ready.retain(|ready| *ready != id);
                self.parked.retain(|parked| *parked != id);
                self.free.push(id);
            }
        }
        self.world.lock().suspended.remove(&process);
    }

    /// Time goes on to the next event. False when there is none before `until`.
    fn advance(&mut self, until: Duration) -> bool {
        let mut state = self.world.lock();
        let Some((key, _)) = state.events.first_key_value() else { return false };
        if key.0 > until {
            state.now = until;
            return false;
        }
        let (key, event) = state.events.pop_first().expect("it was looked at");
        state.now = state.now.max(key.0);
        drop(state);
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Deed(deed) => deed(),
        }
        true
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold the world and the world holds events: cut the circle.
        self.tasks.clear();
        let mut state = self.world.lock();
        let (events, spawned) = (std::mem::take(&mut state.events), std::mem::take(&mut state.spawned));
        drop(state);
        drop((events, spawned));
    }
}
