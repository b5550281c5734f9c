//! What a lake holds in the end, without what says only when it was computed; and whether its tables are whole on the way there.

use std::collections::BTreeMap;

use super::job::Job;
use super::start::Replica;
use crate::lake::{Bar, BarKey, Trade};
use crate::made::Place;

#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    bronze: BTreeMap<i32, Vec<i64>>,
    silver: Vec<Trade>,
    quarantine: usize,
    bars: [BTreeMap<BarKey, Bar>; 2],
}

impl Held {
    pub fn of(lake: &Replica, job: &Job) -> Self {
        let folder = lake.downloaded(&job.result(lake));
        let mut silver = folder.silver();
        silver.sort_by(|a, b| (&a.symbol, a.ts_us, a.seq).cmp(&(&b.symbol, b.ts_us, b.seq)));
        Self {
            bronze: folder.bronze_offsets(),
            silver,
            quarantine: folder.count("silver.quarantine", "offset"),
            bars: ["1m", "5m"].map(|interval| folder.bars(interval)),
        }
    }
}

/// Each file that a table of the lake lists is there, as large as it should be. A lake without tables is whole.
pub fn is_whole(place: &Place) -> bool {
    let (lake, runtime) = (place.lake(), tokio::runtime::Runtime::new().unwrap());
    runtime.block_on(async {
        for table in lake.tables().await.unwrap() {
            let store = table.log_store().object_store(None);
            for add in table.files(None).await.unwrap().1 {
                let path = object_store::path::Path::parse(&add.path).unwrap();
                let there = object_store::ObjectStoreExt::head(&store, &path).await;
                if !there.as_ref().is_ok_and(|there| there.size as i64 == add.size) {
                    println!("{} of {} in {}: {there:?}", add.path, table.name(), place.uri);
                    return false;
                }
            }
        }
        true
    })
}
