//! One job's life: wait until it is due or its input was committed to, run, say how it went, wait again.
//!
//! A run never overlaps the next one. Due times that pass during a run, or while the machine sleeps, are made up for by one run. The first
//! run comes at once and makes up for the time the process was down. A failure that may pass (`ErrorKind::Retry`) is tried again with
//! growing delays without end; any other waits for its next due time, and commits do not wake it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use ticklake_sql::error::chain;
use ticklake_sql::{Clock, ErrorKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::every::Every;
use super::history::History;
use super::job::Retry;
use super::outcome::{Outcome, Ran};
use crate::status::Lag;
use crate::{EngineStatus, Error, Result};

/// A run that is under way at shutdown may take this long to end; what it has not committed is done again later.
const GRACE: Duration = Duration::from_secs(5);

/// Longest sleep: the wall clock may jump while this process sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What a job does. State that a failed run leaves behind is its own business: the next run must not trust it.
#[async_trait]
pub(super) trait Work: Send {
    async fn run(&mut self) -> Result<Outcome>;
    /// Newest version of the input committed by this process, where commits wake the job.
    fn committed(&self) -> Option<watch::Receiver<u64>>;
    /// Input versions not read yet, where that can be told.
    async fn behind(&self) -> Option<u64>;
}

pub(super) struct Runner {
    pub name: String,
    pub every: Every,
    pub jitter: Box<dyn Fn() -> Duration + Send + Sync>,
    pub timeout: Duration,
    pub retry: Retry,
    pub clock: Clock,
    pub status: Arc<EngineStatus>,
    pub history: Arc<History>,
    pub shutdown: CancellationToken,
}

impl Runner {
    pub async fn run(&mut self, work: &mut impl Work) {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.retry.first)
            .with_max_delay(self.retry.longest)
            .without_max_times()
            .with_jitter();
        self.status.known(&self.name, self.every.to_string());
        let mut delays = backoff.build();
        let mut due = self.clock.now();
        let mut woken_by: Option<watch::Receiver<u64>> = None;
        let mut behind_since: Option<DateTime<Utc>> = None;
        loop {
            if !self.wait(due, woken_by.as_mut()).await {
                return;
            }
            let started_at = self.clock.now();
            let missed = self.every.missed(due, started_at);
            if let Some(committed) = &mut woken_by {
                committed.borrow_and_update();
            }
            self.status.started(&self.name, started_at.timestamp_micros());
            let started = Instant::now();
            let Some(outcome) = self.attempt(work).await else {
                return;
            };

            let (now, elapsed) = (self.clock.now(), started.elapsed());
            let regular = self.every.after(started_at).unwrap_or(now + TimeDelta::minutes(1));
            match outcome {
                Ok(Outcome::StoodBy { by, again }) => {
                    delays = backoff.build();
                    behind_since = None;
                    woken_by = None;
                    due = now + TimeDelta::from_std(again).unwrap_or_default();
                    self.status.stood_by(&self.name, by);
                    self.status.scheduled(&self.name, due.timestamp_micros(), 0);
                    continue;
                }
                Ok(Outcome::Ran(ran)) => {
                    self.note(started_at, now, elapsed, Ok(&ran));
                    delays = backoff.build();
                    behind_since = None;
                    due = regular + TimeDelta::from_std((self.jitter)()).unwrap_or_default();
                    woken_by = woken_by.or_else(|| work.committed());
                    self.status.succeeded(&self.name, now.timestamp_micros(), elapsed, &ran);
                    self.status.lags(&self.name, Lag::default());
                }
                Err(error) => {
                    self.note(started_at, now, elapsed, Err(&error));
                    let delay = TimeDelta::from_std(delays.next().unwrap_or(self.retry.longest)).unwrap_or_default();
                    let again = error.kind() == ErrorKind::Retry;
                    due = if again { now + delay } else { regular.max(now + delay) };
                    woken_by = None;
                    tracing::warn!(job = self.name, error = chain(&error), kind = ?error.kind(), next = %due, "job failed");
                    self.status.failed(&self.name, now.timestamp_micros(), elapsed, &error);
                    if let Some(versions) = work.behind().await {
                        let since = *behind_since.get_or_insert(started_at);
                        let seconds = (now - since).num_milliseconds() as f64 / 1000.0;
                        self.status.lags(
                            &self.name,
                            Lag {
                                versions,
                                seconds: if versions > 0 { seconds } else { 0.0 },
                            },
                        );
                    }
                }
            }
            self.status.scheduled(&self.name, due.timestamp_micros(), missed);
        }
    }

    fn note(&self, started: DateTime<Utc>, ended: DateTime<Utc>, elapsed: Duration, outcome: Result<&Ran, &Error>) {
        let (started_us, ended_us) = (started.timestamp_micros(), ended.timestamp_micros());
        self.history.note(&self.name, started_us, ended_us, elapsed, outcome);
    }

    /// Until `due` or a commit to the input. False: shutdown.
    async fn wait(&self, due: DateTime<Utc>, mut woken_by: Option<&mut watch::Receiver<u64>>) -> bool {
        let until = |due: DateTime<Utc>| (due - self.clock.now()).to_std().unwrap_or(Duration::ZERO);
        // A wall clock that is set back must not put off an interval. A cron expression means the wall clock.
        let latest = match self.every {
            Every::Interval(_) => Some(tokio::time::Instant::now() + until(due)),
            Every::Cron { .. } => None,
        };
        loop {
            let left = match latest {
                Some(latest) => until(due).min(latest.saturating_duration_since(tokio::time::Instant::now())),
                None => until(due),
            };
            if self.shutdown.is_cancelled() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            let changed = async {
                let alive = match woken_by.as_mut() {
                    Some(committed) => committed.changed().await.is_ok(),
                    None => false,
                };
                if !alive {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return false,
                () = changed => return true,
                () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
            }
        }
    }

    /// One run inside its limits; a panic is an error like any other. `None`: shutdown cut it off.
    async fn attempt(&self, work: &mut impl Work) -> Option<Result<Outcome>> {
        let cut_off = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let run = tokio::time::timeout(self.timeout, AssertUnwindSafe(work.run()).catch_unwind());
        tokio::select! {
            () = cut_off => None,
            outcome = run => Some(match outcome {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Error::Internal(format!("job {} broke off; its message stands in the log of this process", self.name))),
                Err(_) => Err(Error::TimedOut { job: self.name.clone(), seconds: self.timeout.as_secs() }),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts its runs; each one goes as the script says.
    struct Scripted {
        runs: Arc<AtomicU64>,
        running: Arc<AtomicU64>,
        script: fn(u64) -> Step,
        committed: watch::Sender<u64>,
    }

    enum Step {
        Succeed,
        Fail(Error),
        Hang,
        Panic,
        Take(Duration),
        StandBy,
    }

    #[async_trait]
    impl Work for Scripted {
        async fn run(&mut self) -> Result<Outcome> {
            assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "two runs at once");
            let step = (self.script)(self.runs.fetch_add(1, Ordering::SeqCst));
            let ended = Arc::clone(&self.running);
            let _ended = Ended(ended);
            let ran = || Ok(Outcome::Ran(Box::default()));
            match step {
                Step::Succeed => ran(),
                Step::Fail(error) => Err(error),
                Step::Hang => std::future::pending().await,
                Step::Panic => panic!("scripted"),
                Step::StandBy => Ok(Outcome::StoodBy {
                    by: "another".into(),
                    again: Duration::from_secs(2),
                }),
                Step::Take(time) => {
                    tokio::time::sleep(time).await;
                    ran()
                }
            }
        }

        fn committed(&self) -> Option<watch::Receiver<u64>> {
            Some(self.committed.subscribe())
        }

        async fn behind(&self) -> Option<u64> {
            Some(3)
        }
    }

    struct Ended(Arc<AtomicU64>);

    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    struct Started {
        runs: Arc<AtomicU64>,
        status: Arc<EngineStatus>,
        shutdown: CancellationToken,
        committed: watch::Sender<u64>,
        task: tokio::task::JoinHandle<()>,
    }

    /// Runs under paused time, which both the runner's sleeps and its clock follow.
    fn start(every: &str, timeout: Duration, script: fn(u64) -> Step) -> Started {
        start_by(every, timeout, script, |elapsed| DateTime::UNIX_EPOCH + elapsed)
    }

    /// `clock`: what the wall clock shows after so much time.
    fn start_by(
        every: &str,
        timeout: Duration,
        script: fn(u64) -> Step,
        clock: fn(Duration) -> DateTime<Utc>,
    ) -> Started {
        let (committed, _) = watch::channel(0);
        let runs = Arc::new(AtomicU64::new(0));
        let mut work = Scripted {
            runs: runs.clone(),
            running: Arc::default(),
            script,
            committed: committed.clone(),
        };
        let begin = tokio::time::Instant::now();
        let status = Arc::new(EngineStatus::default());
        let shutdown = CancellationToken::new();
        let mut runner = Runner {
            name: "scripted".into(),
            every: Every::parse(every).unwrap(),
            jitter: Box::new(|| Duration::ZERO),
            timeout,
            retry: Retry::default(),
            history: Arc::new(History::new("test".into())),
            clock: Clock::from_fn(move || clock(begin.elapsed())),
            status: status.clone(),
            shutdown: shutdown.clone(),
        };
        let task = tokio::spawn(async move { runner.run(&mut work).await });
        Started {
            runs,
            status,
            shutdown,
            committed,
            task,
        }
    }

    impl Started {
        /// Lets `time` pass and tells how often the job ran until then.
        async fn runs_after(&self, time: Duration) -> u64 {
            tokio::time::sleep(time).await;
            self.runs.load(Ordering::SeqCst)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn runs_at_once_then_when_due_and_when_woken() {
        let started = start("5s", LONG, |_| Step::Succeed);
        assert_eq!(started.runs_after(Duration::from_millis(10)).await, 1);
        assert_eq!(started.runs_after(Duration::from_secs(5)).await, 2);
        started.committed.send_replace(7);
        assert_eq!(started.runs_after(Duration::from_millis(10)).await, 3);
        started.shutdown.cancel();
        started.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_puts_no_interval_off() {
        let started = start_by(
            "5s",
            LONG,
            |_| Step::Succeed,
            |elapsed| {
                let set_back = TimeDelta::days(i64::from(elapsed > Duration::from_secs(12)));
                DateTime::UNIX_EPOCH + TimeDelta::days(10) + elapsed - set_back
            },
        );
        assert_eq!(started.runs_after(Duration::from_secs(11)).await, 3);
        assert_eq!(started.runs_after(Duration::from_secs(10)).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_is_made_up_for_once() {
        let started = start("1s", LONG, |run| {
            if run == 0 {
                Step::Take(Duration::from_millis(5500))
            } else {
                Step::Succeed
            }
        });
        assert_eq!(started.runs_after(Duration::from_millis(5400)).await, 1);
        assert_eq!(started.runs_after(Duration::from_millis(200)).await, 2);
        assert_eq!(started.status.snapshot()["jobs"]["scripted"]["missed"], 4);
        assert_eq!(started.runs_after(Duration::from_millis(950)).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_soon() {
        let started = start("1h", LONG, |run| {
            if run < 3 {
                Step::Fail(Error::TimedOut {
                    job: "store".into(),
                    seconds: 1,
                })
            } else {
                Step::Succeed
            }
        });
        assert_eq!(started.runs_after(Duration::from_secs(30)).await, 4);
        let job = &started.status.snapshot()["jobs"]["scripted"];
        assert_eq!((&job["failures"], &job["lag"]["versions"]), (&3.into(), &0.into()));
        assert!(job["last_error"]["message"].as_str().unwrap().contains("store"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_wrong_waits_for_its_time_and_is_shown() {
        let started = start("1m", LONG, |_| Step::Fail(Error::Invalid("nonsense".into())));
        started.runs_after(Duration::from_secs(1)).await;
        started.committed.send_replace(1);
        assert_eq!(started.runs_after(Duration::from_secs(50)).await, 1);
        assert_eq!(started.runs_after(Duration::from_secs(10)).await, 2);
        let job = &started.status.snapshot()["jobs"]["scripted"];
        assert_eq!(
            (&job["last_error"]["kind"], &job["lag"]["versions"]),
            (&"invalid".into(), &3.into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_another_process_runs_is_looked_at_again_and_is_no_run() {
        let started = start("1h", LONG, |run| match run {
            0 | 1 => Step::StandBy,
            _ => Step::Succeed,
        });
        assert_eq!(started.runs_after(Duration::from_millis(2100)).await, 2);
        let job = &started.status.snapshot()["jobs"]["scripted"];
        assert_eq!((&job["held_by"], &job["runs"]), (&"another".into(), &0.into()));
        assert_eq!(started.runs_after(Duration::from_secs(2)).await, 3);
        let job = &started.status.snapshot()["jobs"]["scripted"];
        assert_eq!((&job["held_by"], &job["runs"]), (&serde_json::Value::Null, &1.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_and_panicking_runs_end_and_the_job_goes_on() {
        let started = start("1s", Duration::from_secs(10), |run| match run {
            0 => Step::Hang,
            1 => Step::Panic,
            _ => Step::Succeed,
        });
        assert!(started.runs_after(Duration::from_secs(20)).await > 2);
        assert_eq!(started.status.snapshot()["jobs"]["scripted"]["failures"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_lets_a_run_end_but_not_forever() {
        let started = start("1s", LONG, |_| Step::Take(Duration::from_secs(2)));
        started.runs_after(Duration::from_millis(100)).await;
        started.shutdown.cancel();
        started.task.await.unwrap();
        assert_eq!(started.status.successes("scripted"), 1);

        let started = start("1s", LONG, |_| Step::Hang);
        started.runs_after(Duration::from_millis(100)).await;
        started.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(6), started.task)
            .await
            .unwrap()
            .unwrap();
    }
}
