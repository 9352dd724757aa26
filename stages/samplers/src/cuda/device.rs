//! One CUDA device: memory, compiled kernels and launches on a single stream, in order.

use super::CudaError;
use cudarc::{
    driver::{
        CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig,
        PushKernelArg, ValidAsZeroBits,
    },
    nvrtc::{CompileOptions, compile_ptx_with_opts},
};
use std::{fmt, sync::Arc};

/// A device and its stream.
#[derive(Clone)]
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
}

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Device({})", self.context.ordinal())
    }
}

/// Memory on the device.
#[derive(Debug)]
pub(super) struct Buffer<T> {
    slice: CudaSlice<T>,
}

/// A kernel's argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Pointer(u64),
    Int(i32),
    Float(f32),
}

/// A kernel that is compiled and loaded.
pub(super) type Kernel = CudaFunction;

/// Compiled kernels by name.
#[derive(Debug)]
pub(super) struct Program {
    module: Arc<CudaModule>,
}

impl Device {
    /// # Errors
    /// There is no driver or no such device.
    pub fn new(ordinal: usize) -> Result<Self, CudaError> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: all memory is used on the one stream below, whose order is the program's.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        Ok(Self { context, stream })
    }

    /// The device's name as the driver gives it.
    ///
    /// # Errors
    /// The driver fails.
    pub fn name(&self) -> Result<String, CudaError> {
        Ok(self.context.name()?)
    }

    /// Waits until everything that was launched is done.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        Ok(self.stream.synchronize()?)
    }

    /// Compiles CUDA C++ for this device.
    pub(super) fn compile(&self, source: &str) -> Result<Program, CudaError> {
        let (major, minor) = self.context.compute_capability()?;
        let architecture = format!("--gpu-architecture=compute_{major}{minor}");
        let options = CompileOptions {
            options: vec![architecture, "--std=c++17".to_owned()],
            name: Some("samplers.cu".to_owned()),
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(source, options)?;
        Ok(Program { module: self.context.load_module(ptx)? })
    }

    /// `len` elements, all 0.
    pub(super) fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<Buffer<T>, CudaError> {
        Ok(Buffer { slice: self.stream.alloc_zeros(len.max(1))? })
    }

    pub(super) fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<Buffer<T>, CudaError> {
        Ok(Buffer { slice: self.stream.clone_htod(values)? })
    }

    /// The first `len` elements; waits for everything before.
    pub(super) fn download<T: DeviceRepr + Default + Clone>(
        &self,
        buffer: &Buffer<T>,
        len: usize,
    ) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::default(); len];
        self.stream.memcpy_dtoh(&buffer.slice.slice(..len), &mut values)?;
        self.stream.synchronize()?;
        Ok(values)
    }

    /// Overwrites the first elements of `buffer`.
    pub(super) fn write<T: DeviceRepr>(&self, values: &[T], buffer: &mut Buffer<T>) -> Result<(), CudaError> {
        let mut view = buffer.slice.slice_mut(..values.len());
        Ok(self.stream.memcpy_htod(values, &mut view)?)
    }

    /// Makes the first `len` elements 0.
    pub(super) fn clear<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        buffer: &mut Buffer<T>,
        len: usize,
    ) -> Result<(), CudaError> {
        let mut view = buffer.slice.slice_mut(..len);
        Ok(self.stream.memset_zeros(&mut view)?)
    }

    /// Queues a kernel on a grid `(x, y)` of blocks of `threads`.
    ///
    /// The caller holds the kernel's contract: `arguments` are those of its signature, in number, order and type, and its
    /// pointers lead to buffers of at least the lengths that it documents, which live until the stream has passed it.
    pub(super) fn launch(
        &self,
        kernel: &Kernel,
        (x, y): (usize, usize),
        threads: usize,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        let mut builder = self.stream.launch_builder(kernel);
        for argument in arguments {
            match argument {
                Argument::Pointer(pointer) => builder.arg(pointer),
                Argument::Int(value) => builder.arg(value),
                Argument::Float(value) => builder.arg(value),
            };
        }
        let config =
            LaunchConfig { grid_dim: (x as u32, y as u32, 1), block_dim: (threads as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the contract above; memory is freed in the stream's order.
        unsafe { builder.launch(config)? };
        Ok(())
    }
}

impl Program {
    pub fn kernel(&self, name: &str) -> Result<Kernel, CudaError> {
        Ok(self.module.load_function(name)?)
    }
}

impl<T> Buffer<T> {
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Address of the first element.
    pub fn pointer(&self) -> u64 {
        self.slice.device_ptr(self.slice.stream()).0
    }
}
