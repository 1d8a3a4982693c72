//! How a [`Reason`] is spelled, and whether it is a warning.

use std::fmt;

use crate::cluster::Reason;

impl Reason {
    /// The reason as it stands in the Event: exactly the variant's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionFailure => "ConnectionFailure",
            Self::ConnectionRecovery => "ConnectionRecovery",
            Self::RDSDisconnected => "RDSDisconnected",
            Self::RDSReconnected => "RDSReconnected",
            Self::StartupReconciliation => "StartupReconciliation",
            Self::StaleAttachmentCleared => "StaleAttachmentCleared",
            Self::AttachmentConflict => "AttachmentConflict",
            Self::VolumeAttached => "VolumeAttached",
            Self::VolumeDetached => "VolumeDetached",
            Self::OrphanDetected => "OrphanDetected",
            Self::OrphanCleaned => "OrphanCleaned",
            Self::RecoveryFailed => "RecoveryFailed",
            Self::VolumeFenced => "VolumeFenced",
            Self::VolumeRepaired => "VolumeRepaired",
            Self::NodeSuspect => "NodeSuspect",
            Self::MountBroken => "MountBroken",
            Self::RecoveryHeld => "RecoveryHeld",
            Self::RDSRolledBack => "RDSRolledBack",
            Self::ConfigurationRejected => "ConfigurationRejected",
            Self::FenceUnproven => "FenceUnproven",
            Self::MigrationStarted => "MigrationStarted",
            Self::MigrationCompleted => "MigrationCompleted",
            Self::MigrationFailed => "MigrationFailed",
        }
    }

    /// Is something wrong, so that the Event's type is `Warning`? Else it is `Normal`.
    pub fn is_warning(self) -> bool {
        match self {
            Self::ConnectionFailure
            | Self::RDSDisconnected
            | Self::AttachmentConflict
            | Self::OrphanDetected
            | Self::RecoveryFailed
            | Self::VolumeFenced
            | Self::NodeSuspect
            | Self::MountBroken
            | Self::RecoveryHeld
            | Self::RDSRolledBack
            | Self::ConfigurationRejected
            | Self::FenceUnproven
            | Self::MigrationFailed => true,
            Self::ConnectionRecovery
            | Self::RDSReconnected
            | Self::StartupReconciliation
            | Self::StaleAttachmentCleared
            | Self::VolumeAttached
            | Self::VolumeDetached
            | Self::OrphanCleaned
            | Self::VolumeRepaired
            | Self::MigrationStarted
            | Self::MigrationCompleted => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_reason_is_spelled_as_its_variant() {
        for reason in [
            Reason::ConnectionFailure,
            Reason::ConnectionRecovery,
            Reason::RDSDisconnected,
            Reason::RDSReconnected,
            Reason::StartupReconciliation,
            Reason::StaleAttachmentCleared,
            Reason::AttachmentConflict,
            Reason::VolumeAttached,
            Reason::VolumeDetached,
            Reason::OrphanDetected,
            Reason::OrphanCleaned,
            Reason::RecoveryFailed,
            Reason::VolumeFenced,
            Reason::VolumeRepaired,
            Reason::NodeSuspect,
            Reason::MountBroken,
            Reason::RecoveryHeld,
            Reason::RDSRolledBack,
            Reason::ConfigurationRejected,
            Reason::MigrationStarted,
            Reason::MigrationCompleted,
            Reason::MigrationFailed,
        ] {
            assert_eq!(reason.to_string(), format!("{reason:?}"));
        }
    }
}
