terraform {
  required_version = ">= 1.9"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.2"
    }
    azuredevops = {
      source  = "microsoft/azuredevops"
      version = "~> 1.10"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 2.38"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id
  # Since 5.0 none is registered unless it is named.
  resource_providers_to_register = [
    "Microsoft.ContainerRegistry",
    "Microsoft.ContainerService",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Monitor",
    "Microsoft.OperationalInsights",
    "Microsoft.Storage",
  ]
  features {
    key_vault {
      purge_soft_delete_on_destroy = false
    }
  }
}

# The organisation's URL and the token come from AZDO_ORG_SERVICE_URL and AZDO_PERSONAL_ACCESS_TOKEN
# (or a workload identity): neither belongs in a file. Not used when azure_devops_project is null.
provider "azuredevops" {}

# The local administrator, for two namespaces and the bindings: keep the state where only administrators read it.
provider "kubernetes" {
  host                   = azurerm_kubernetes_cluster.this.kube_admin_config[0].host
  client_certificate     = base64decode(azurerm_kubernetes_cluster.this.kube_admin_config[0].client_certificate)
  client_key             = base64decode(azurerm_kubernetes_cluster.this.kube_admin_config[0].client_key)
  cluster_ca_certificate = base64decode(azurerm_kubernetes_cluster.this.kube_admin_config[0].cluster_ca_certificate)
}
