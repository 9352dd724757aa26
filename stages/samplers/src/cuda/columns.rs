//! Rows of logits on the device, and the columns they become: distinct logits with multiplicities.

use super::{
    CudaError,
    device::{Buffer, Device},
    kernels::{FLAT, Kernels, WIDE, arguments, launch},
};
use crate::{RowError, SamplerError, example_columns::ExampleColumns};

/// Upper halves of f32 bit patterns.
const BINS: usize = 1 << 16;
/// A token that does not exist.
const NONE: i32 = i32::MAX;
/// Words of a row's information.
const INFO: usize = 8;

/// Rows of logits `[rows, vocabulary]` on a device.
#[derive(Debug)]
pub struct DeviceLogits {
    pub(super) values: Buffer<f32>,
    rows: usize,
    vocabulary: usize,
}

impl DeviceLogits {
    /// # Errors
    /// `logits` are not whole rows, there is none, or the device has too little memory.
    pub fn new(device: &Device, logits: &[f32], vocabulary: usize) -> Result<Self, CudaError> {
        if vocabulary == 0 || logits.is_empty() || !logits.len().is_multiple_of(vocabulary) {
            return Err(SamplerError::Shape { logits: logits.len(), vocabulary }.into());
        }
        Ok(Self { values: device.upload(logits)?, rows: logits.len() / vocabulary, vocabulary })
    }

    /// Overwrites all rows.
    ///
    /// # Errors
    /// There are not as many `logits` as before.
    pub fn write(&mut self, device: &Device, logits: &[f32]) -> Result<(), CudaError> {
        if logits.len() != self.rows * self.vocabulary {
            return Err(SamplerError::Shape { logits: logits.len(), vocabulary: self.vocabulary }.into());
        }
        device.write(logits, &mut self.values)
    }

    /// # Errors
    /// The device fails.
    pub fn read(&self, device: &Device) -> Result<Vec<f32>, CudaError> {
        device.download(&self.values, self.rows * self.vocabulary)
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

/// The columns of some rows. Buffers only grow.
#[derive(Debug)]
pub(super) struct Columns {
    pub rows: usize,
    /// Columns of each row, those past its last one included.
    pub stride: usize,
    /// Log-probabilities and multiplicities.
    pub ell: Buffer<f32>,
    pub count: Buffer<f32>,
    /// Candidates of each row.
    pub total: Buffer<f32>,
    bins: Buffer<i32>,
    numbers: Buffer<i32>,
    info: Buffer<i32>,
    normaliser: Buffer<f64>,
}

/// What the loss needs of the target distributions, per column and row.
#[derive(Debug)]
pub(super) struct Targets {
    mass: Buffer<u64>,
    removed: Buffer<i32>,
    negentropy: Buffer<f64>,
    max: Buffer<f32>,
    log_sum: Buffer<f64>,
    kl: Buffer<f64>,
    penalty: Buffer<f64>,
}

/// Makes room for `len` elements; what was there is lost.
pub(super) fn reserve<T>(device: &Device, buffer: &mut Buffer<T>, len: usize) -> Result<(), CudaError>
where
    T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits,
{
    if buffer.len() < len {
        *buffer = device.zeros(len)?;
    }
    Ok(())
}

/// Overwrites the beginning of `buffer`, which grows where it has to.
fn load<T>(device: &Device, values: &[T], buffer: &mut Buffer<T>) -> Result<(), CudaError>
where
    T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits,
{
    reserve(device, buffer, values.len())?;
    device.write(values, buffer)
}

impl Columns {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        Ok(Self {
            rows: 0,
            stride: 0,
            ell: device.zeros(0)?,
            count: device.zeros(0)?,
            total: device.zeros(0)?,
            bins: device.zeros(0)?,
            numbers: device.zeros(0)?,
            info: device.zeros(0)?,
            normaliser: device.zeros(0)?,
        })
    }

    /// Columns of all rows.
    pub fn len(&self) -> usize {
        self.rows * self.stride
    }

    /// Groups the logits of each row, and the targets where they are given. `multiple` divides the stride.
    pub fn group(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        multiple: usize,
        raw: &DeviceLogits,
        target: Option<(&DeviceLogits, &mut Targets)>,
    ) -> Result<(), CudaError> {
        let (rows, vocabulary) = (raw.rows, raw.vocabulary);
        reserve(device, &mut self.bins, rows * BINS)?;
        reserve(device, &mut self.numbers, rows * BINS)?;
        reserve(device, &mut self.info, rows * INFO)?;
        reserve(device, &mut self.normaliser, rows)?;
        reserve(device, &mut self.total, rows)?;
        let tokens = (vocabulary.div_ceil(FLAT), rows);
        let (bins, numbers, info) = (&self.bins, &self.numbers, &self.info);
        launch(device, kernels.begin_rows.as_ref(), (BINS / FLAT, rows), FLAT, arguments![bins, info])?;
        let arguments = arguments![&raw.values, vocabulary, bins, info];
        launch(device, kernels.count_bins.as_ref(), tokens, FLAT, arguments)?;
        let arguments = arguments![&raw.values, vocabulary, bins, numbers, info, &self.normaliser, &self.total];
        launch(device, kernels.number_columns.as_ref(), (rows, 1), WIDE, arguments)?;
        let mut target = target;
        if let Some((target, targets)) = &mut target {
            if (target.rows, target.vocabulary) != (rows, vocabulary) {
                let (raw, target) = (rows * vocabulary, target.rows * target.vocabulary);
                return Err(SamplerError::Row { row: 0, source: RowError::Length { raw, target } }.into());
            }
            targets.reserve_rows(device, rows)?;
            let (max, log_sum, negentropy) = (&targets.max, &targets.log_sum, &targets.negentropy);
            let arguments = arguments![&raw.values, &target.values, vocabulary, info, max, log_sum, negentropy];
            launch(device, kernels.target_sums.as_ref(), (rows, 1), WIDE, arguments)?;
        }
        let words = device.download(info, rows * INFO)?;
        let mut most = 0;
        for (row, words) in words.chunks_exact(INFO).enumerate() {
            self::check(device, row, words, raw, target.as_ref().map(|(target, _)| *target))?;
            most = most.max(words[0] as usize);
        }
        self.rows = rows;
        self.stride = most.next_multiple_of(multiple);
        let len = self.len();
        reserve(device, &mut self.ell, len)?;
        reserve(device, &mut self.count, len)?;
        device.clear(&mut self.ell, len)?;
        device.clear(&mut self.count, len)?;
        let (bins, numbers, info) = (&self.bins, &self.numbers, &self.info);
        let arguments = arguments![
            &raw.values,
            vocabulary,
            bins,
            numbers,
            info,
            &self.normaliser,
            self.stride,
            &self.ell,
            &self.count,
        ];
        let grid = (vocabulary.max(BINS).div_ceil(FLAT), rows);
        launch(device, kernels.fill_columns.as_ref(), grid, FLAT, arguments)?;
        if let Some((target, targets)) = target {
            targets.reserve_columns(device, len)?;
            let (max, log_sum, mass, removed) = (&targets.max, &targets.log_sum, &targets.mass, &targets.removed);
            let arguments = arguments![
                &raw.values,
                &target.values,
                vocabulary,
                numbers,
                info,
                max,
                log_sum,
                self.stride,
                mass,
                removed,
            ];
            launch(device, kernels.target_columns.as_ref(), tokens, FLAT, arguments)?;
        }
        Ok(())
    }

    /// Takes the columns, and the targets, of examples that were grouped on the processor.
    pub fn load(&mut self, device: &Device, examples: &ExampleColumns, targets: &mut Targets) -> Result<(), CudaError> {
        (self.rows, self.stride) = (examples.rows, examples.stride);
        targets.reserve_rows(device, self.rows)?;
        load(device, &examples.ell, &mut self.ell)?;
        load(device, &examples.count, &mut self.count)?;
        load(device, &examples.total, &mut self.total)?;
        load(device, &examples.mass, &mut targets.mass)?;
        load(device, &examples.removed, &mut targets.removed)?;
        load(device, &examples.negentropy, &mut targets.negentropy)
    }

    /// Rewrites the logits that were grouped: every token gets what its column is given.
    pub fn scatter(
        &self,
        device: &Device,
        kernels: &Kernels,
        predicted: &Buffer<f32>,
        logits: &mut DeviceLogits,
    ) -> Result<(), CudaError> {
        let grid = (logits.vocabulary.div_ceil(FLAT), logits.rows);
        let arguments =
            arguments![&logits.values, logits.vocabulary, &self.numbers, &self.info, self.stride, predicted];
        launch(device, kernels.scatter_columns.as_ref(), grid, FLAT, arguments)
    }
}

/// What is wrong with a row, if anything is.
fn check(
    device: &Device,
    row: usize,
    words: &[i32],
    raw: &DeviceLogits,
    target: Option<&DeviceLogits>,
) -> Result<(), CudaError> {
    let [_, _, bad_raw, bad_target, bad_kept, any_raw, any_target, _max] = words else { return Ok(()) };
    let not_a_number = |logits: &DeviceLogits, token: i32| -> Result<RowError, CudaError> {
        let token = token as usize;
        Ok(RowError::NotANumber { token, value: logits.read(device)?[row * logits.vocabulary + token] })
    };
    let source = if *bad_raw != NONE {
        not_a_number(raw, *bad_raw)?
    } else if *any_raw == 0 {
        RowError::NoCandidate
    } else if let Some(target) = target {
        if *bad_target != NONE {
            not_a_number(target, *bad_target)?
        } else if *any_target == 0 {
            RowError::NoCandidate
        } else if *bad_kept != NONE {
            RowError::KeptButRemoved { token: *bad_kept as usize }
        } else {
            return Ok(());
        }
    } else {
        return Ok(());
    };
    Err(SamplerError::Row { row, source }.into())
}

impl Targets {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        Ok(Self {
            mass: device.zeros(0)?,
            removed: device.zeros(0)?,
            negentropy: device.zeros(0)?,
            max: device.zeros(0)?,
            log_sum: device.zeros(0)?,
            kl: device.zeros(0)?,
            penalty: device.zeros(0)?,
        })
    }

    fn reserve_rows(&mut self, device: &Device, rows: usize) -> Result<(), CudaError> {
        reserve(device, &mut self.max, rows)?;
        for buffer in [&mut self.negentropy, &mut self.log_sum, &mut self.kl, &mut self.penalty] {
            reserve(device, buffer, rows)?;
        }
        Ok(())
    }

    /// Room for columns, all 0.
    fn reserve_columns(&mut self, device: &Device, len: usize) -> Result<(), CudaError> {
        reserve(device, &mut self.mass, len)?;
        reserve(device, &mut self.removed, len)?;
        device.clear(&mut self.mass, len)?;
        device.clear(&mut self.removed, len)
    }

    /// Losses of the rows, and `scale · d(kl + gamma·penalty)/d predicted` of all columns.
    pub fn loss(
        &self,
        device: &Device,
        kernels: &Kernels,
        columns: &Columns,
        predicted: &Buffer<f32>,
        (gamma, scale): (f32, f32),
        gradient: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let arguments = arguments![
            predicted,
            &columns.count,
            &self.mass,
            &self.removed,
            &self.negentropy,
            columns.stride,
            gamma,
            scale,
            &self.kl,
            &self.penalty,
            gradient,
        ];
        launch(device, kernels.row_loss.as_ref(), (columns.rows, 1), WIDE, arguments)
    }

    /// KL divergence and penalty of each row; waits for them.
    pub fn read(&self, device: &Device, rows: usize) -> Result<Vec<crate::RowLoss>, CudaError> {
        let (kl, penalty) = (device.download(&self.kl, rows)?, device.download(&self.penalty, rows)?);
        Ok(kl.into_iter().zip(penalty).map(|(kl, penalty)| crate::RowLoss { kl, penalty }).collect())
    }
}
