//! Kubernetes as a controller under fault sees it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::attachment::ledger::Copy;
use rds_csi::cluster::{
    Attachment, Cluster, ClusterError, Deleting, Identity, Node, Notice, View, Volume,
};
use rds_csi::volume::NodeName;

use crate::point::{Fault, Step, Watch};

pub struct Api {
    inner: Arc<dyn Cluster>,
    watch: Arc<Watch>,
}

impl Api {
    pub fn new(inner: Arc<dyn Cluster>, watch: Arc<Watch>) -> Self {
        Self { inner, watch }
    }

    async fn write<T>(
        &self,
        what: &'static str,
        write: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        let (_, fault) = self.watch.begin(Step::Write(what)).await;
        let lost = || Err(ClusterError::Unreachable("the connection ended".into()));
        if fault == Some(Fault::Lost) {
            return lost();
        }
        let answer = write.await;
        match fault {
            Some(Fault::DiesDone) => self.watch.death.cancel(),
            Some(Fault::DiesAnswered) => self.watch.dying(),
            Some(Fault::AnswerLost) => return lost(),
            _ => {}
        }
        self.watch.survive().await;
        answer
    }
}

#[async_trait]
impl Cluster for Api {
    fn unsynced(&self) -> Vec<&'static str> {
        self.inner.unsynced()
    }

    fn failing(&self) -> Vec<(&'static str, Duration)> {
        self.inner.failing()
    }

    fn view(&self) -> View {
        self.inner.view()
    }

    async fn identity(&self) -> Result<Identity, ClusterError> {
        self.inner.identity().await
    }

    async fn volume(&self, handle: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        self.inner.volume(handle).await
    }

    async fn read_volume(&self, name: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        self.inner.read_volume(name).await
    }

    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ClusterError> {
        self.inner.node(name).await
    }

    async fn write_copy(&self, volume: &Volume, copy: &Copy) -> Result<Arc<Volume>, ClusterError> {
        self.write("copy", self.inner.write_copy(volume, copy)).await
    }

    async fn has_attachment(&self, volume: &str, node: &NodeName) -> Result<bool, ClusterError> {
        self.inner.has_attachment(volume, node).await
    }

    async fn delete_attachment(&self, attachment: &Attachment) -> Result<(), ClusterError> {
        self.write("attachment-gone", self.inner.delete_attachment(attachment)).await
    }

    async fn deleting(&self) -> Result<Vec<Deleting>, ClusterError> {
        self.inner.deleting().await
    }

    async fn begin_deleting(&self, entry: &Deleting) -> Result<(), ClusterError> {
        self.write("listed", self.inner.begin_deleting(entry)).await
    }

    async fn end_deleting(&self, entry: &Deleting) -> Result<(), ClusterError> {
        self.write("unlisted", self.inner.end_deleting(entry)).await
    }

    fn post(&self, notice: Notice) {
        self.inner.post(notice);
    }
}
