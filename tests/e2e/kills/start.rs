//! The lake that every job starts from, and copies of it: on local disk a folder, on S3 a prefix.

use std::path::{Path, PathBuf};

use crate::lake::LakeFolder;
use crate::made::{Made, Place, STRICT, TRADES, trade, trade_at};
use crate::tampered::{self, Tampered};

pub struct Start {
    made: Made,
    #[cfg(feature = "services")]
    s3: Option<Place>,
}

/// A lake of one kill's own, in a folder of its own.
pub struct Replica {
    pub scratch: tempfile::TempDir,
    pub place: Place,
}

impl Start {
    /// Two rounds refreshed to the end, a third read by silver under strict rules and by gold, a fourth that only bronze has. In it beside all that
    /// `Made` has: a dead letter that decodes now, and trades that only the strict rules set aside, one of them twice.
    pub fn on_disk() -> Self {
        let made = Made::new();
        let folder = made.folder.path();
        let early = |id: i64| trade_at(id, "100.5", id - 10_000);
        made.send(&[early(1), early(601), early(601), early(602), trade(603, "101")]);
        made.ingest();
        let refresh = |layer: &str| {
            let mut command = made.place.command(folder, &["refresh", layer]);
            let status = command.env(STRICT.0, STRICT.1).status().unwrap();
            assert!(status.success());
        };
        refresh("silver");
        refresh("gold");
        made.send(
            &(TRADES + 10..TRADES + 200)
                .map(|id| trade(id, "99.5"))
                .collect::<Vec<_>>(),
        );
        made.send(&[trade(8, "100.5"), trade(9, "42")]);
        made.ingest();
        Tampered::at(&made.place).mend_a_dead_letter();
        Self {
            made,
            #[cfg(feature = "services")]
            s3: None,
        }
    }

    #[cfg(feature = "services")]
    pub fn on_s3() -> Self {
        let mut start = Self::on_disk();
        let at = Place::s3(&format!("kills-{}", uuid::Uuid::new_v4().simple()));
        let folder = start.made.folder.path();
        at.stdout(folder, &["restore", "--from", &start.made.place.uri]);
        start.s3 = Some(at);
        start
    }

    pub fn copy(&self) -> Replica {
        #[cfg(feature = "services")]
        if let Some(s3) = &self.s3 {
            return Replica::of_prefix(s3);
        }
        Replica::of_folder(&self.made.lake())
    }
}

fn other_of(lake: &str) -> String {
    format!("{lake}-other")
}

impl Replica {
    pub fn copy(&self) -> Self {
        #[cfg(feature = "services")]
        if !self.is_local() {
            return Self::of_prefix(&self.place);
        }
        Self::of_folder(self.folder())
    }

    fn of_folder(lake: &Path) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let own = scratch.path().join("lake");
        tampered::copy(lake, &own);
        let replica = Self {
            place: Place::folder(&own),
            scratch,
        };
        // An earlier copy of the lake.
        let other = other_of(lake.to_str().unwrap());
        if Path::new(&other).exists() {
            tampered::copy(Path::new(&other), Path::new(&replica.other().uri));
        }
        replica
    }

    #[cfg(feature = "services")]
    fn of_prefix(lake: &Place) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let place = Place::s3(&format!("kills-{}", uuid::Uuid::new_v4().simple()));
        place.stdout(scratch.path(), &["restore", "--from", &lake.uri]);
        Self { scratch, place }
    }

    pub fn is_local(&self) -> bool {
        !self.place.uri.contains("://")
    }

    /// Where a job that makes a copy of the lake puts it.
    pub fn other(&self) -> Place {
        self.place.at(&other_of(&self.place.uri))
    }

    /// Of a lake on local disk; of another nothing is there.
    pub fn folder(&self) -> &Path {
        Path::new(&self.place.uri)
    }

    /// What `at` holds, in a folder.
    pub fn downloaded(&self, at: &Place) -> LakeFolder {
        if !at.uri.contains("://") {
            return LakeFolder(PathBuf::from(&at.uri));
        }
        let folder = self.scratch.path().join("downloaded");
        let _ = std::fs::remove_dir_all(&folder);
        let here = at.at(folder.to_str().unwrap());
        here.stdout(self.scratch.path(), &["restore", "--from", &at.uri]);
        LakeFolder(folder)
    }
}
