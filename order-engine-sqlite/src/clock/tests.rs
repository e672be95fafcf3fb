use std::sync::Mutex;
use std::time::Duration;

use chrono::TimeDelta;
use order_engine_core::OrderStore;
use order_engine_core::conformance::fixtures::{
    FREELY, HOUR, Worker, append, create, create_one, new_order, routing_started, write,
};
use order_engine_core::store::{AppendError, Then};
use tempfile::TempDir;

use super::*;
use crate::SqliteStore;

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(30);
/// Almost as long.
const LESS: Duration = Duration::from_secs(29);

/// A machine whose clocks the test steers.
#[derive(Debug)]
struct Fake(Mutex<State>);

#[derive(Debug)]
struct State {
    system_time_ms: i64,
    boots: u32,
    steady_ms: i64,
    /// Whether the system distinguishes its boots.
    has_boot_ids: bool,
}

impl Machine for Fake {
    fn system_time_ms(&self) -> i64 {
        self.0.lock().unwrap().system_time_ms
    }

    fn boot_id(&self) -> Option<String> {
        let state = self.0.lock().unwrap();
        state.has_boot_ids.then(|| format!("boot {}", state.boots))
    }

    fn steady_ms(&self) -> i64 {
        self.0.lock().unwrap().steady_ms
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}

/// A file on a machine. Each store that is opened stands for a process.
struct World {
    machine: Arc<Fake>,
    folder: TempDir,
}

impl World {
    fn new(has_boot_ids: bool) -> Self {
        let state = State { system_time_ms: 1_767_225_600_000, boots: 1, steady_ms: 5_000, has_boot_ids };
        Self { machine: Arc::new(Fake(Mutex::new(state))), folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> Arc<dyn OrderStore> {
        let mut options = SqliteOptions::new(self.folder.path().join("orders.db"));
        options.machine = self.machine.clone();
        Arc::new(SqliteStore::open(options).await.unwrap())
    }

    fn system_time(&self) -> DateTime<Utc> {
        moment(self.machine.system_time_ms())
    }

    /// Lets time pass, as on a machine that runs or sleeps.
    fn elapse(&self, duration: Duration) {
        let mut state = self.machine.0.lock().unwrap();
        state.system_time_ms += ms(duration);
        state.steady_ms += ms(duration);
    }

    /// Sets the system's clock.
    fn set(&self, hours: i64) {
        self.machine.0.lock().unwrap().system_time_ms += TimeDelta::hours(hours).num_milliseconds();
    }

    /// Boots the machine, which takes a while.
    fn reboot(&self) {
        let mut state = self.machine.0.lock().unwrap();
        state.boots += 1;
        state.steady_ms = 700;
        state.system_time_ms += 60_000;
    }

    async fn reached_ms(&self) -> i64 {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("orders.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let row = sqlx::query("SELECT reached_ms FROM clock").fetch_one(&mut connection).await.unwrap();
        row.get(0)
    }
}

#[tokio::test]
async fn a_new_file_shows_the_systems_time() {
    for has_boot_ids in [true, false] {
        let world = World::new(has_boot_ids);
        assert_eq!(world.open().await.now().await.unwrap(), world.system_time());
    }
}

#[tokio::test]
async fn processes_agree_whatever_the_systems_clock_showed_when_they_began() {
    for hours in [-1, 1, 24 * 365] {
        let world = World::new(true);
        let first = world.open().await;
        world.elapse(Duration::from_secs(7));
        let truth = world.system_time();
        world.set(hours);
        let second = world.open().await;
        for store in [&first, &second] {
            assert_eq!(store.now().await.unwrap(), truth, "{hours}");
        }
        drop((first, second));
        assert_eq!(world.open().await.now().await.unwrap(), truth, "{hours}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_neither_rescues_an_order_early_nor_late() {
    for hours in [-1, 1] {
        let world = World::new(true);
        let first = world.open().await;
        create_one(&first, 1).await;
        Worker::new(&first, 1).with_lease(LEASE).claim_one().await;
        world.set(hours);
        let second = world.open().await;
        world.elapse(LESS);
        for store in [&first, &second] {
            Worker::new(store, 2).finds_nothing().await;
        }
        world.elapse(Duration::from_secs(1));
        Worker::new(&second, 2).claim_one().await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_moves_no_deadline() {
    for hours in [-1, 1] {
        let world = World::new(true);
        let first = world.open().await;
        create(&first, &[new_order(1), new_order(2)]).await;
        let deadline = first.now().await.unwrap() + LEASE;
        world.set(hours);
        let second = world.open().await;
        for (n, waits, expected) in [(1, LEASE, Ok(())), (2, LESS, Err(AppendError::TooLate))] {
            world.elapse(waits);
            let item = append(&new_order(n).order, FREELY, Then::Keep, &[routing_started(1)]);
            let item = item.with_not_after(Some(deadline));
            assert_eq!(write(&second, item).await, expected, "{hours}");
        }
    }
}

#[tokio::test]
async fn a_boot_goes_on_after_the_last_known_time_if_the_systems_clock_is_slow() {
    for has_boot_ids in [true, false] {
        let world = World::new(has_boot_ids);
        let store = world.open().await;
        create_one(&store, 1).await;
        if has_boot_ids {
            world.elapse(HOUR);
        }
        Worker::new(&store, 1).with_lease(LEASE).claim_one().await;
        let last = store.now().await.unwrap();
        drop(store);
        world.reboot();
        world.set(-2);
        let store = world.open().await;
        let now = store.now().await.unwrap();
        assert!(now >= last && now <= last + Duration::from_secs(1), "{last} and then {now}");
        assert_eq!(world.open().await.now().await.unwrap(), now);
        if has_boot_ids {
            // The dead worker's order waits no longer than it would have.
            world.elapse(LEASE);
            Worker::new(&store, 2).claim_one().await;
        }
    }
}

#[tokio::test]
async fn a_boot_goes_by_the_systems_clock_if_that_is_ahead() {
    for has_boot_ids in [true, false] {
        let world = World::new(has_boot_ids);
        let store = world.open().await;
        create_one(&store, 1).await;
        drop(store);
        world.reboot();
        assert_eq!(world.open().await.now().await.unwrap(), world.system_time());
    }
}

#[tokio::test]
async fn no_time_is_lost_however_often_the_machine_boots() {
    let world = World::new(true);
    let mut last = DateTime::<Utc>::MIN_UTC;
    for _ in 0..5 {
        let store = world.open().await;
        let now = store.now().await.unwrap();
        assert!(now >= last, "{last} and then {now}");
        create_one(&store, u64::try_from(now.timestamp_millis()).unwrap()).await;
        world.elapse(HOUR);
        Worker::new(&store, 1).claim(9).await;
        last = store.now().await.unwrap();
        drop(store);
        world.reboot();
        world.set(-3);
    }
}

#[tokio::test]
async fn a_file_that_nothing_changes_is_not_written_to_for_the_time() {
    let world = World::new(true);
    let store = world.open().await;
    create_one(&store, 1).await;
    Worker::new(&store, 1).claim_one().await;
    world.elapse(Duration::from_secs(10));
    Worker::new(&store, 1).finds_nothing().await;
    let reached_ms = world.reached_ms().await;
    for _ in 0..5 {
        world.elapse(Duration::from_secs(10));
        Worker::new(&store, 1).finds_nothing().await;
    }
    assert_eq!(world.reached_ms().await, reached_ms);
    create_one(&store, 2).await;
    assert!(moment(world.reached_ms().await) >= store.now().await.unwrap());
}
