//! cuBLASLt on memory that cubecl owns, in cubecl's order, without waiting for it. In: a plan and tensors.
//! Out: the same matmul on the library's own stream, behind all that was asked of the GPU before and
//! before all that is asked later. Whatever is missing, the library, a form for a plan, is `false`, and
//! the caller multiplies otherwise. Nothing here has run on a GPU yet.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::mem::size_of_val;
use std::sync::{Arc, Mutex, PoisonError};

use burn_cubecl::cubecl;
use cubecl::Runtime;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::device::Device as _;
use cubecl::device_handle::DeviceHandle;
use cubecl::server::{ComputeServer, Handle};
use cubecl::stream_id::StreamId;
use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys as ls;
use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, sys as cu};

use super::plan::{Epilogue, Format, Layout, Op, Plan};
use crate::device::quietly;

type Server = <CudaRuntime as Runtime>::Server;

/// Bytes that the library may use beside operands; on Hopper it is faster with 32 MiB.
const WORKSPACE: usize = 32 << 20;

/// The operands as the library names them.
pub struct Operands {
    pub a: Handle,
    pub b: Handle,
    pub bias: Option<Handle>,
    pub d: Handle,
}

/// The library on one GPU.
struct Lt {
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    handle: ls::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    before: CudaEvent,
    after: CudaEvent,
    /// What the library has chosen for a plan; `None` where it has nothing.
    algorithms: HashMap<Plan, Option<ls::cublasLtMatmulAlgo_t>>,
}

// SAFETY: the handle is used by one thread at a time, under the lock that this stands behind; cuBLASLt
// binds a handle to no thread.
#[allow(unsafe_code)]
unsafe impl Send for Lt {}

/// By the number of the GPU; `None` where there is no library.
static OPEN: Mutex<BTreeMap<usize, Option<Arc<Mutex<Lt>>>>> = Mutex::new(BTreeMap::new());

fn opened(number: usize) -> Option<Arc<Mutex<Lt>>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let lt = open.entry(number).or_insert_with(|| {
        let lt = quietly(|| open_on(number)).ok().flatten();
        match &lt {
            Some(_) => tracing::info!("large matmuls by cuBLASLt"),
            None => tracing::warn!("cuBLASLt cannot be used: all matmuls by burn's kernels"),
        }
        lt.map(|lt| Arc::new(Mutex::new(lt)))
    });
    lt.clone()
}

/// Opens the library; panics inside cudarc, of symbols that a driver lacks, are its caller's to catch.
#[allow(unsafe_code)]
fn open_on(number: usize) -> Option<Lt> {
    // SAFETY: it only tries to load the library.
    if !unsafe { ls::is_culib_present() } {
        return None;
    }
    // The primary context, which is cubecl's too.
    let context = CudaContext::new(number).ok()?;
    let stream = context.new_stream().ok()?;
    // SAFETY: the workspace is written before it is read, by the library.
    let workspace = unsafe { stream.alloc::<u8>(WORKSPACE).ok()? };
    let event = || context.new_event(Some(cu::CUevent_flags::CU_EVENT_DISABLE_TIMING)).ok();
    let (before, after) = (event()?, event()?);
    // SAFETY: context and event are alive. A driver without the symbol panics, one that is too old
    // refuses: then no order could be kept.
    unsafe { cu::cuCtxRecordEvent(context.cu_ctx(), before.cu_event()).result().ok()? };
    let handle = lt::create_handle().ok()?;
    let algorithms = HashMap::new();
    Some(Lt { stream, context, handle, workspace, before, after, algorithms })
}

/// Queues `plan` over `operands` on `device`. `false`: the library has no form for it.
pub fn run(device: &CudaDevice, plan: Plan, operands: Operands) -> bool {
    let Some(state) = opened(device.index) else { return false };
    let Some(algorithm) = state.lock().unwrap_or_else(PoisonError::into_inner).algorithm(plan)
    else {
        return false;
    };
    let asking = StreamId::current();
    let queue = DeviceHandle::<Server>::new(device.to_id());
    queue.submit(move |server: &mut Server| {
        // On cubecl's own thread; `get_resource` lets the stream of the thread that asks wait for those
        // that the operands come from.
        let mut address = |handle: &Handle| {
            let resource = server.get_resource(handle.clone().binding(), asking);
            resource.expect("an operand of cuBLASLt is bound memory").resource().ptr
        };
        let addresses = Addresses {
            a: address(&operands.a),
            b: address(&operands.b),
            bias: operands.bias.as_ref().map(&mut address),
            d: address(&operands.d),
        };
        let lt = state.lock().unwrap_or_else(PoisonError::into_inner);
        lt.launch(&plan, &algorithm, addresses).expect("cuBLASLt multiplies");
        // Freed for later tensors only now that these wait for the result.
        drop(operands);
    });
    true
}

struct Addresses {
    a: u64,
    b: u64,
    bias: Option<u64>,
    d: u64,
}

/// Descriptors of one call.
struct Descriptors {
    matmul: ls::cublasLtMatmulDesc_t,
    layouts: [ls::cublasLtMatrixLayout_t; 3],
}

impl Drop for Descriptors {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `Descriptors::of`, and freed here only; nothing keeps them.
        unsafe {
            let _ = lt::destroy_matmul_desc(self.matmul);
            for layout in self.layouts {
                let _ = lt::destroy_matrix_layout(layout);
            }
        }
    }
}

impl Descriptors {
    #[allow(unsafe_code)]
    fn of(plan: &Plan, bias: Option<u64>) -> Result<Self, CublasError> {
        use ls::cublasLtMatmulDescAttributes_t::{
            CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_TRANSA,
            CUBLASLT_MATMUL_DESC_TRANSB,
        };
        // f32 operands are multiplied in f32, not in TF32.
        let compute = ls::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let matmul = lt::create_matmul_desc(compute, ls::cudaDataType::CUDA_R_32F)?;
        let layouts = [layout(&plan.a)?, layout(&plan.b)?, layout(&plan.d)?];
        let descriptors = Descriptors { matmul, layouts };
        let op = |op| match op {
            Op::AsStored => 0i32,
            Op::Transposed => 1i32,
        };
        let epilogue = match plan.epilogue {
            Epilogue::None => ls::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            Epilogue::Bias => ls::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Epilogue::ReluBias => ls::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS,
        };
        let set = |attribute, value: *const c_void, bytes| {
            // SAFETY: `value` points to `bytes` bytes of the attribute's type, which are copied.
            unsafe { lt::set_matmul_desc_attribute(matmul, attribute, value, bytes) }
        };
        let (op_a, op_b) = (op(plan.op_a), op(plan.op_b));
        set(CUBLASLT_MATMUL_DESC_TRANSA, (&raw const op_a).cast(), size_of_val(&op_a))?;
        set(CUBLASLT_MATMUL_DESC_TRANSB, (&raw const op_b).cast(), size_of_val(&op_b))?;
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, (&raw const epilogue).cast(), size_of_val(&epilogue))?;
        if plan.epilogue != Epilogue::None {
            let format = kind(plan.d.format);
            let bytes = size_of_val(&format);
            set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (&raw const format).cast(), bytes)?;
            let bias = bias.unwrap_or(0);
            set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, (&raw const bias).cast(), size_of_val(&bias))?;
        }
        Ok(descriptors)
    }
}

fn kind(format: Format) -> ls::cudaDataType {
    match format {
        Format::F32 => ls::cudaDataType::CUDA_R_32F,
        Format::F16 => ls::cudaDataType::CUDA_R_16F,
        Format::Bf16 => ls::cudaDataType::CUDA_R_16BF,
    }
}

#[allow(unsafe_code)]
fn layout(of: &Layout) -> Result<ls::cublasLtMatrixLayout_t, CublasError> {
    use ls::cublasLtMatrixLayoutAttribute_t::{
        CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
    };
    let layout = lt::create_matrix_layout(kind(of.format), of.rows, of.columns, of.leading)?;
    let (batch, stride) = (of.batch, of.stride);
    // SAFETY: the layout was just made; values are of the attributes' types and copied.
    unsafe {
        let count = CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
        lt::set_matrix_layout_attribute(layout, count, (&raw const batch).cast(), 4)?;
        let offset = CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
        lt::set_matrix_layout_attribute(layout, offset, (&raw const stride).cast(), 8)?;
    }
    Ok(layout)
}

impl Lt {
    /// What the library chooses for `plan`, asked once.
    fn algorithm(&mut self, plan: Plan) -> Option<ls::cublasLtMatmulAlgo_t> {
        if let Some(known) = self.algorithms.get(&plan) {
            return *known;
        }
        let chosen = self.ask(&plan).ok();
        if chosen.is_none() {
            tracing::debug!(?plan, "no form in cuBLASLt");
        }
        self.algorithms.insert(plan, chosen);
        chosen
    }

    #[allow(unsafe_code)]
    fn ask(&self, plan: &Plan) -> Result<ls::cublasLtMatmulAlgo_t, CublasError> {
        use ls::cublasLtMatmulPreferenceAttributes_t::{
            CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES as WORKSPACE_BYTES,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES as OF_A,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES as OF_B,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES as OF_C,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES as OF_D,
        };
        let descriptors = Descriptors::of(plan, None)?;
        let preference = lt::create_matmul_pref()?;
        let room = WORKSPACE;
        let alignments = [
            (OF_A, plan.a.aligned),
            (OF_B, plan.b.aligned),
            (OF_C, plan.d.aligned),
            (OF_D, plan.d.aligned),
        ];
        // SAFETY: all descriptors are alive until after the call; values are copied.
        unsafe {
            let set = |attribute, value: *const c_void, bytes| {
                lt::set_matmul_pref_attribute(preference, attribute, value, bytes)
            };
            let mut asked = set(WORKSPACE_BYTES, (&raw const room).cast(), size_of_val(&room));
            for (attribute, aligned) in alignments {
                let bytes = size_of_val(&aligned);
                asked = asked.and_then(|()| set(attribute, (&raw const aligned).cast(), bytes));
            }
            let [a, b, d] = descriptors.layouts;
            let best = asked.and_then(|()| {
                lt::get_matmul_algo_heuristic(
                    self.handle,
                    descriptors.matmul,
                    a,
                    b,
                    d,
                    d,
                    preference,
                )
            });
            let _ = lt::destroy_matmul_pref(preference);
            Ok(best?.algo)
        }
    }

    /// On cubecl's thread: behind all that its streams have queued, before all that they will.
    #[allow(unsafe_code)]
    fn launch(
        &self,
        plan: &Plan,
        algorithm: &ls::cublasLtMatmulAlgo_t,
        at: Addresses,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let descriptors = Descriptors::of(plan, at.bias)?;
        let [a, b, d] = descriptors.layouts;
        let (one, onto) = (1f32, if plan.onto { 1f32 } else { 0f32 });
        let (workspace, _in_use) = self.workspace.device_ptr(&self.stream);
        // SAFETY: the addresses are of memory that the caller's handles keep until this has been queued,
        // as large as the plan says, which was made from the tensors' shapes and strides. Events order it
        // among all users of that memory. Descriptors live until the call returns, which has copied them.
        unsafe {
            let stream = self.stream.cu_stream();
            cu::cuCtxRecordEvent(self.context.cu_ctx(), self.before.cu_event()).result()?;
            cu::cuStreamWaitEvent(stream, self.before.cu_event(), 0).result()?;
            lt::matmul(
                self.handle,
                descriptors.matmul,
                (&raw const one).cast(),
                (&raw const onto).cast(),
                at.a as *const c_void,
                a,
                at.b as *const c_void,
                b,
                at.d as *const c_void,
                d,
                at.d as *mut c_void,
                d,
                algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )?;
            self.after.record(&self.stream)?;
            cu::cuCtxWaitEvent(self.context.cu_ctx(), self.after.cu_event()).result()?;
        }
        Ok(())
    }
}
