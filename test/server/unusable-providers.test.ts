import { unusableReason } from '@elbo/server/inference/provider';
import { expect, it } from 'vitest';

// As ONNX Runtime 1.30 says it, shortened in the middle.
const NO_ADAPTER =
  '/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU adapter: No supported adapters\n';
const OLD_DRIVER =
  '/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> [with ERRTYPE = cudaError] CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=vm ; file=cuda_execution_provider.cc ; line=352 ; expr=cudaSetDevice(info_.device_id); \n\n';

it.each([
  ['webgpu', NO_ADAPTER, /^Failed to get a WebGPU adapter: No supported adapters$/],
  // Where the provider library is installed and misses a library of CUDA's, that is the reason.
  [
    'cuda',
    OLD_DRIVER,
    /^(CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version|lib\S+: cannot open .+)$/,
  ],
  ['webgpu', ' something new \n', /^something new$/],
] as const)('says without C++ why %s cannot be used', (provider, message, reason) => {
  expect(unusableReason(provider, message)).toMatch(reason);
});
