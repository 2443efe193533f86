#pragma once

// The part of TensorRT's published C++ runtime API that the engine uses. A "plan" here is text: a line "code"
// where it brings code along, then a line for each tensor: name, "in" or "out", type, sides. Every output
// byte is the sum of the inputs' bytes at that place, and one.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace nvinfer1 {

enum class DataType : std::int32_t {
    kFLOAT = 0,
    kHALF = 1,
    kINT8 = 2,
    kINT32 = 3,
    kBOOL = 4,
    kUINT8 = 5,
    kFP8 = 6,
    kBF16 = 7,
    kINT64 = 8,
    kINT4 = 9
};
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };

struct Dims64 {
    std::int32_t nbDims;
    std::int64_t d[8];
};
using Dims = Dims64;

class ILogger {
  public:
    enum class Severity : std::int32_t {
        kINTERNAL_ERROR = 0,
        kERROR = 1,
        kWARNING = 2,
        kINFO = 3,
        kVERBOSE = 4
    };
    virtual void log(Severity severity, const char* message) noexcept = 0;
    virtual ~ILogger() = default;
};

struct FakeTensor {
    std::string name;
    TensorIOMode mode = TensorIOMode::kNONE;
    DataType type = DataType::kFLOAT;
    Dims shape{};
};
using FakePlan = std::vector<FakeTensor>;

class IExecutionContext {
  public:
    IExecutionContext(const FakePlan& plan, ILogger& logger) : plan_(plan), logger_(logger) {}
    virtual ~IExecutionContext() = default;

    bool setTensorAddress(const char* name, void* data) noexcept {
        addresses_[name] = static_cast<std::uint8_t*>(data);
        return fake_device.holds(data, 1);
    }

    bool enqueueV3(cudaStream_t stream) noexcept {
        for (const FakeTensor& tensor : plan_) {
            if (addresses_.count(tensor.name) == 0) {
                logger_.log(ILogger::Severity::kERROR, ("no address for " + tensor.name).c_str());
                return false;
            }
        }
        const auto work = [this] { compute(); };
        if (stream->capturing) {
            stream->captured.push_back(work);
        } else {
            work();
        }
        return true;
    }

  private:
    static std::size_t bytes(const FakeTensor& tensor) {
        std::size_t size = tensor.type == DataType::kFLOAT ? 4 : 1;
        for (int axis = 0; axis < tensor.shape.nbDims; ++axis) {
            size *= static_cast<std::size_t>(tensor.shape.d[axis]);
        }
        return size;
    }

    void compute() {
        for (const FakeTensor& output : plan_) {
            for (std::size_t at = 0; output.mode == TensorIOMode::kOUTPUT && at < bytes(output); ++at) {
                int sum = 1;
                for (const FakeTensor& input : plan_) {
                    const bool read = input.mode == TensorIOMode::kINPUT && at < bytes(input);
                    sum += read ? addresses_[input.name][at] : 0;
                }
                addresses_[output.name][at] = static_cast<std::uint8_t>(sum);
            }
        }
    }

    const FakePlan& plan_;
    ILogger& logger_;
    std::map<std::string, std::uint8_t*> addresses_;
};

class ICudaEngine {
  public:
    ICudaEngine(FakePlan plan, ILogger& logger) : plan_(std::move(plan)), logger_(logger) {}
    virtual ~ICudaEngine() = default;

    std::int32_t getNbIOTensors() const noexcept { return static_cast<std::int32_t>(plan_.size()); }
    const char* getIOTensorName(std::int32_t index) const noexcept {
        return plan_[static_cast<std::size_t>(index)].name.c_str();
    }
    Dims getTensorShape(const char* name) const noexcept { return find(name).shape; }
    DataType getTensorDataType(const char* name) const noexcept { return find(name).type; }
    TensorIOMode getTensorIOMode(const char* name) const noexcept { return find(name).mode; }

    IExecutionContext* createExecutionContext() noexcept {
        if (plan_.size() > 8) {
            logger_.log(ILogger::Severity::kERROR, "not enough memory for the context");
            return nullptr;
        }
        return new IExecutionContext(plan_, logger_);
    }

  private:
    const FakeTensor& find(const std::string& name) const {
        for (const FakeTensor& tensor : plan_) {
            if (tensor.name == name) {
                return tensor;
            }
        }
        return plan_.front();
    }

    FakePlan plan_;
    ILogger& logger_;
};

class IRuntime {
  public:
    explicit IRuntime(ILogger& logger) : logger_(logger) {}
    virtual ~IRuntime() = default;

    void setEngineHostCodeAllowed(bool allowed) noexcept { host_code_ = allowed; }

    ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) noexcept {
        std::istringstream lines(std::string(static_cast<const char*>(blob), size));
        FakePlan plan;
        for (std::string line; std::getline(lines, line);) {
            std::istringstream words(line);
            FakeTensor tensor;
            std::string mode, type;
            words >> tensor.name >> mode >> type;
            if (tensor.name == "code" && !host_code_) {
                logger_.log(ILogger::Severity::kERROR, "the engine has host code, which is not allowed");
                return nullptr;
            }
            if (tensor.name == "code") {
                continue;
            }
            tensor.mode = mode == "in" ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
            tensor.type = type == "float"  ? DataType::kFLOAT
                          : type == "int4" ? DataType::kINT4
                                           : DataType::kUINT8;
            while (words >> tensor.shape.d[tensor.shape.nbDims]) {
                ++tensor.shape.nbDims;
            }
            if (tensor.shape.nbDims == 0) {
                logger_.log(ILogger::Severity::kERROR, "magic tag does not match");
                return nullptr;
            }
            plan.push_back(tensor);
        }
        return new ICudaEngine(plan, logger_);
    }

  private:
    ILogger& logger_;
    bool host_code_ = false;
};

inline IRuntime* createInferRuntime(ILogger& logger) noexcept { return new IRuntime(logger); }

}  // namespace nvinfer1
