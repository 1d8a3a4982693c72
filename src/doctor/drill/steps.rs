//! The steps of a drill, in order: each does one thing to box and kernel, and tells its row.

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::blocks::{Found, PLACES, Series, find};
use super::initiator::{Denied, Progress, Writing};
use super::rows::{self, Comeback, Retries, Silence, Still};
use super::{A, B, Drill, GLANCE, Host};
use crate::attachment::static_form::Mode;
use crate::doctor::console::Console;
use crate::doctor::row::{Row, State};
use crate::doctor::scratch::{self, Scratch};
use crate::host::{Controller, ControllerState, Device};
use crate::rds::{Command, Counters, Disk, Export, Reply};
use crate::volume::Nqn;

/// Reads of the counters that a fence may take to be confirmed, as the driver's own.
const COUNTER_READS: usize = 10;

/// A step that is over; none where nothing can come after it.
type Step<T = ()> = Option<T>;

/// A drill at work, on a console and a disk that others remove.
pub(super) struct Run<'a> {
    pub(super) drill: &'a mut Drill,
    pub(super) console: &'a mut Console,
    pub(super) scratch: &'a mut Scratch,
    pub(super) rows: &'a mut Vec<Row>,
}

impl Run<'_> {
    /// All of them, as far as each allows the next.
    pub(super) async fn steps(mut self) -> Step {
        let first = self.first_export().await?;
        self.path().await?;
        let device = self.connection(&first).await?;
        let writer = self.writes(&device).await?;
        self.fence().await?;
        let acknowledged = self.silence(&writer).await?;
        let next = self.retries(writer, acknowledged).await?;
        let second = self.data(&next, acknowledged).await?;
        self.takeover(&second).await?;
        self.refusals(&first, &second.nqn).await;
        self.sweep(B).await;
        let third = self.back().await?;
        self.repair(&third).await
    }

    /// Notes a row; nothing comes after one that is not in order.
    fn tell(&mut self, row: Row) -> Step {
        let goes_on = matches!(row.state, State::Ok | State::Warning);
        self.rows.push(row);
        goes_on.then_some(())
    }

    fn host(&self, host: usize) -> &Host {
        &self.drill.hosts[host]
    }

    async fn first_export(&mut self) -> Step<Nqn> {
        let exported = self.attach(A).await;
        let wrong = exported.as_ref().map(|(_, wrong)| wrong.as_slice());
        self.drill.listed = wrong.as_ref().is_ok_and(|wrong| !wrong.contains(&"allowed host"));
        let row = rows::disk(wrong);
        self.tell(row)?;
        exported.ok().map(|(nqn, _)| nqn)
    }

    async fn path(&mut self) -> Step {
        let (host, port) = (self.drill.config.nvme_address.clone(), self.drill.config.nvme_port);
        let deadline = self.drill.setup.pace.path;
        let reached = match timeout(deadline, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", deadline.as_secs_f64())),
        };
        self.tell(rows::path(&format!("{host}, port {port}"), reached))
    }

    async fn connection(&mut self, nqn: &Nqn) -> Step<Device> {
        let device = self.enter(nqn, A).await;
        let bytes = device.as_ref().map(|device| device.bytes);
        self.tell(rows::connection(bytes, scratch::BYTES))?;
        device.ok()
    }

    /// A round that is read back, and then a writer that goes on.
    async fn writes(&mut self, device: &Device) -> Step<Writing> {
        let series = self.host(A).series.clone();
        let before = self.counters().await;
        let found = self.round(device, &series).await;
        let after = self.counters().await;
        let (before, after) = (before.ok().flatten(), after.ok().flatten());
        self.tell(rows::writes(found.as_ref().copied(), before, after))?;
        // From the first block on, so that what stands there is the same series.
        let mut writing = self.drill.setup.initiator.write(device, &series, None);
        let step = self.drill.setup.pace.step;
        match writing.until(step, |it| it.acknowledged > PLACES || it.ended.is_some()).await {
            Some(Progress { ended: None, .. }) => Some(writing),
            _ => {
                let what = format!("{:?}", writing.progress());
                self.rows.retain(|row| row.check != "drill writes");
                let what = format!("a writer comes to nothing: {what}");
                self.tell(rows::writes(Err(&what), None, None))?;
                None
            }
        }
    }

    /// As the driver fences: one line, `export=no` first and alone.
    async fn fence(&mut self) -> Step {
        let begun = Instant::now();
        let closed = self.export(A, false, true).await;
        let comment = self.scratch.comment_of(self.drill.generation);
        let row = rows::fence(closed.as_ref().map(|(_, disk)| disk), &comment, begun.elapsed());
        self.tell(row)
    }

    /// What the writer does after the driver would have released the volume; how much of it was
    /// acknowledged in the end.
    async fn silence(&mut self, writer: &Writing) -> Step<u64> {
        let still = match self.still().await {
            Ok(still) => still,
            Err(why) => {
                let row = Row::fault("drill silence", format!("the box cannot be asked: {why}"));
                return self.tell(row.mend("/disk/print detail")).and(None);
            }
        };
        let before = writer.progress();
        let watched = self.drill.setup.pace.silence;
        sleep(watched).await;
        let counters = self.counters().await.ok().flatten();
        let after = writer.progress();
        let acknowledged = after.acknowledged;
        self.tell(rows::silence(&Silence { still, before, after, counters, watched }))?;
        Some(acknowledged)
    }

    /// Waits as the driver does before it releases a fenced volume.
    async fn still(&mut self) -> Result<Still, String> {
        let Some(mut before) = self.counters().await? else {
            let drain = self.drill.setup.pace.drain;
            sleep(drain).await;
            return Ok(Still::Waited(drain));
        };
        for _ in 1..COUNTER_READS {
            sleep(self.drill.setup.pace.counters).await;
            let Some(now) = self.counters().await? else { return Ok(Still::Never) };
            if now.writes == before.writes && now.in_flight == 0 {
                return Ok(Still::Counted(now));
            }
            before = now;
        }
        Ok(Still::Never)
    }

    /// The disk is exported to the next host, while the old one tries to come back and then is swept.
    async fn retries(&mut self, mut old: Writing, acknowledged: u64) -> Step<Nqn> {
        let exported = self.attach(B).await.and_then(|(nqn, wrong)| self.as_set(nqn, &wrong));
        let seen = match &exported {
            Ok(_) => self.shut_out(&mut old, acknowledged).await,
            Err(why) => Err(why.clone()),
        };
        self.tell(rows::retries(seen.as_ref()))?;
        exported.ok()
    }

    async fn shut_out(&mut self, old: &mut Writing, acknowledged: u64) -> Result<Retries, String> {
        let before = self.counters().await?;
        // Its kernel has tried twice by then.
        let watched = self.drill.setup.pace.reconnect * 2;
        sleep(watched).await;
        self.sweep(A).await;
        let ended = old.until(self.drill.setup.pace.step, |it| it.ended.is_some()).await;
        let after = self.counters().await?;
        let more = old.progress().acknowledged.saturating_sub(acknowledged);
        Ok(Retries { more, before, after, ended: ended.is_some(), watched })
    }

    /// The next host, under the next generation, reads.
    async fn data(&mut self, nqn: &Nqn, acknowledged: u64) -> Step<Device> {
        let device = self.enter(nqn, B).await;
        let series = self.host(A).series.clone();
        let found = match &device {
            Ok(device) => self.look(device, &series, acknowledged).await,
            Err(why) => Err(why.clone()),
        };
        self.tell(rows::data(found.as_ref().copied(), acknowledged))?;
        device.ok()
    }

    /// The next host writes, and reads what it wrote.
    async fn takeover(&mut self, device: &Device) -> Step {
        let series = self.host(B).series.clone();
        let found = self.round(device, &series).await;
        self.tell(rows::takeover(found.as_ref().copied()))
    }

    /// The old host at its old name, and at the other host's.
    async fn refusals(&mut self, old: &Nqn, current: &Nqn) {
        let mode = self.drill.mode;
        let at_old = match mode {
            Mode::Usual => self.attempt(old, A).await,
            Mode::Static => Ok(()),
        };
        let at_current = self.attempt(current, A).await;
        self.sweep(A).await;
        self.rows.push(rows::old_name(mode, &at_old));
        self.rows.push(rows::other_host(self.drill.listed, &at_current));
    }

    /// The first host is attached anew, and reads what the other one wrote.
    async fn back(&mut self) -> Step<Device> {
        let device = self.attached(A).await;
        let series = self.host(B).series.clone();
        let found = match &device {
            Ok(device) => self.look(device, &series, PLACES).await,
            Err(why) => Err(why.clone()),
        };
        self.tell(rows::back(found.as_ref().copied()))?;
        device.ok()
    }

    /// The export is lost for a while, and put back under exactly its name.
    async fn repair(&mut self, device: &Device) -> Step {
        let came = self.lose_and_repair(&device.nqn).await;
        self.tell(rows::repair(came.as_ref().copied()))
    }

    async fn lose_and_repair(&mut self, nqn: &Nqn) -> Result<Comeback, String> {
        self.export(A, false, false).await?;
        // Long enough for the kernel to notice, and to be refused.
        sleep(self.drill.setup.pace.reconnect * 2).await;
        self.export(A, true, false).await?;
        let begun = Instant::now();
        let by_itself = self.comes_back(nqn).await?;
        let device = self.device(nqn).await?;
        let took = begun.elapsed();
        let series = [self.host(B).series.clone(), self.host(A).series.clone()];
        let before = self.look(&device, &series[0], PLACES).await?;
        let after = self.round(&device, &series[1]).await?;
        Ok(Comeback { by_itself, took, before, after })
    }

    /// Waits until host A is live; where its kernel gave up, it is connected anew, as the agent of a
    /// node does. Was that not needed?
    async fn comes_back(&self, nqn: &Nqn) -> Result<bool, String> {
        let end = Instant::now() + self.drill.setup.pace.comeback;
        let mut by_itself = true;
        loop {
            let found = self.drill.own(|one| one.nqn == *nqn).await?;
            if found.iter().any(|one| one.state == ControllerState::Live) {
                return Ok(by_itself);
            }
            if found.is_empty() {
                by_itself = false;
                // It may be refused as long as the one before goes away.
                if let Err(denied) = self.attempt(nqn, A).await
                    && Instant::now() > end
                {
                    return Err(denied.why);
                }
            }
            if Instant::now() > end {
                let states: Vec<_> = found.iter().map(|one| (&one.name, one.state)).collect();
                let within = self.drill.setup.pace.comeback.as_secs_f64();
                return Err(format!("not within {within} s: {states:?}"));
            }
            sleep(GLANCE).await;
        }
    }

    /// Exports the disk for a host under the next generation. The properties that are not as they
    /// were set are returned with the name.
    async fn attach(&mut self, host: usize) -> Result<(Nqn, Vec<&'static str>), String> {
        let (wanted, disk) = self.export(host, true, true).await?;
        let wrong = scratch::wrong(&wanted, &disk);
        let nqn = match wanted.nqn {
            Some(nqn) => nqn,
            None => Nqn::exported(&disk.nqn).unwrap_or_else(|_| Nqn::of_slot(self.scratch.slot())),
        };
        Ok((nqn, wrong))
    }

    /// The name of an export, where it is as it was set.
    fn as_set(&self, nqn: Nqn, wrong: &[&str]) -> Result<Nqn, String> {
        let listed = self.drill.listed;
        match wrong.iter().find(|what| listed || **what != "allowed host") {
            Some(what) => Err(format!("the export is not as it was set: {what}")),
            None => Ok(nqn),
        }
    }

    async fn attached(&mut self, host: usize) -> Result<Device, String> {
        let (nqn, wrong) = self.attach(host).await?;
        self.enter(&self.as_set(nqn, &wrong)?, host).await
    }

    /// Sets the export: closed or open, under the next name or the one it has.
    async fn export(
        &mut self,
        host: usize,
        on: bool,
        anew: bool,
    ) -> Result<(Export, Disk), String> {
        if anew {
            self.drill.next_name(self.scratch.slot())?;
        }
        let wanted = Export {
            on,
            nqn: self.drill.name.clone().filter(|_| self.drill.mode == Mode::Usual),
            allow_host: Some(self.host(host).nqn.clone()),
            port: self.drill.config.nvme_port,
        };
        let comment = self.scratch.comment_of(self.drill.generation);
        let set = self.console.run(&self.scratch.change(&comment, Some(wanted.clone()))).await;
        let (_, disk) = self.scratch.seen(set)?;
        Ok((wanted, disk))
    }

    async fn counters(&mut self) -> Result<Option<Counters>, String> {
        let shown = self.console.run(&Command::Show(self.scratch.slot().clone())).await;
        let (_, disk): (Reply, Disk) = self.scratch.seen(shown)?;
        Ok(disk.counters)
    }

    /// Connects a host, and waits for its device.
    async fn enter(&self, nqn: &Nqn, host: usize) -> Result<Device, String> {
        self.attempt(nqn, host).await.map_err(|denied| denied.why)?;
        self.device(nqn).await
    }

    async fn attempt(&self, nqn: &Nqn, host: usize) -> Result<(), Denied> {
        self.drill.setup.initiator.connect(&self.drill.wanted(nqn, host)).await
    }

    async fn device(&self, nqn: &Nqn) -> Result<Device, String> {
        let end = Instant::now() + self.drill.setup.pace.step;
        loop {
            let found = self.drill.setup.initiator.devices(nqn).await?;
            if let Some(device) = found.into_iter().find(|device| device.bytes > 0) {
                return Ok(device);
            }
            if Instant::now() > end {
                return Err(format!("connected to {nqn}, and the kernel shows no device"));
            }
            sleep(GLANCE).await;
        }
    }

    /// Deletes every connection of a host.
    async fn sweep(&self, host: usize) {
        let of_host = |one: &Controller| self.drill.host_of(one) == Some(host);
        // What stays is told at the end.
        for controller in self.drill.own(of_host).await.unwrap_or_default() {
            let _ = self.drill.setup.initiator.disconnect(&controller).await;
        }
    }

    async fn look(&self, device: &Device, of: &Series, count: u64) -> Result<Found, String> {
        let bytes = self.drill.setup.initiator.read(device, PLACES).await?;
        Ok(find(&bytes, of, count))
    }

    /// Writes every place once, and reads all back.
    async fn round(&self, device: &Device, series: &Series) -> Result<Found, String> {
        let mut writing = self.drill.setup.initiator.write(device, series, Some(PLACES));
        let step = self.drill.setup.pace.step;
        match writing.until(step, |it| it.ended.is_some()).await.and_then(|it| it.ended) {
            Some(Ok(())) => self.look(device, series, PLACES).await,
            Some(Err(why)) => Err(why),
            None => {
                let count = writing.progress().acknowledged;
                Err(format!("{count} of {PLACES} blocks are written within {} s", step.as_secs()))
            }
        }
    }
}
